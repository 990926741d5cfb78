"""What a suite file may hold, key by key: the only place where its keys are declared."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    Tag,
    field_validator,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from harness.errors import Key

NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?$"
MAX_SEED = 2**63 - 1
USUAL_PROBES = ("bi_lipschitz", "log_det", "reconstruction", "sampling")
"""What a suite measures that names no probes: those that cost less than training. A list, and not
what the registry knows: a cell keeps its id when a probe is added."""


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True
    )


LATER = ("backpropagation", "non_finite")
"""Training settings that came later: at their defaults they are no part of a cell's identity, so
that cells keep the ids that they had before."""


class Training(_Strict):
    """How a cell is trained: part of its identity.

    Attributes:
        steps: Optimiser steps; 0 probes the network as it was initialised.
        batch_size: Inputs per step.
        learning_rate: Adam's step size.
        weight_decay: Decoupled weight decay.
        gradient_clip: Largest norm of the whole gradient; null never clips.
        schedule: Learning rate over the steps: ``constant``, or ``cosine`` down to 0.
        log_every: A point of the training curve every so many steps.
        precision: Floating-point type of weights and inputs.
        non_finite: A step whose loss or gradient is not finite ``end``s training, as diverged, or
            is left out: ``skip``. Stored only where it says so, for cells had ids before it was.
        backpropagation: ``autograd`` keeps all activations, ``memory_saving`` rebuilds them by
            the inverse, ``guarded`` too, but recomputes what the inverse gets wrong.
    """

    steps: int = Field(300, ge=0, le=10**9, description="Optimiser steps; 0 trains nothing.")
    batch_size: int = Field(128, ge=1, le=10**9, description="Inputs per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's step size.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    gradient_clip: Annotated[float, Field(gt=0)] | None = Field(
        100.0, description="Largest norm of the whole gradient; null never clips."
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="Learning rate over the steps; cosine goes down to 0."
    )
    log_every: int = Field(
        10, ge=1, le=10**9, description="A point of the training curve every so many steps."
    )
    precision: Literal["float32", "float64"] = Field(
        "float32", description="Floating-point type of weights and inputs."
    )
    non_finite: Literal["end", "skip"] = Field(
        "end", description="What a step that is not finite does: end training, or skip that step."
    )
    backpropagation: Literal["autograd", "memory_saving", "guarded"] = Field(
        "autograd",
        description="autograd keeps activations, memory_saving rebuilds them, guarded checks them.",
    )

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the :data:`LATER` settings that have their defaults."""
        content: dict[str, Any] = handler(self)
        for name in LATER:
            if content.get(name) == type(self).model_fields[name].default:
                del content[name]
        return content


class Resources(_Strict):
    """What one pack takes while it runs; never part of its identity.

    Attributes:
        cpus: Processor cores.
        gpus: Graphics cards; a fraction shares one.
        pack: How many cells that differ in no more than numbers are trained at once.
        compile: Whether long runs are compiled; numbers then differ in their last bits.
    """

    @field_validator("cpus", "gpus")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value > 1 and value % 1:
            raise PydanticCustomError("fraction", "Input should be a whole number where above 1")
        return value

    cpus: float = Field(1.0, ge=0.01, description="Processor cores of one pack.")
    gpus: float = Field(0.0, ge=0, description="Graphics cards of one pack; a fraction shares one.")

    @field_validator("pack", mode="before")
    @classmethod
    def _number_or_name(cls, value: object) -> object:
        """One sentence, where a union would have one for each of its parts."""
        number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if number or value in ("auto", "off"):
            return value
        raise PydanticCustomError("pack", "Input should be auto, off or a whole number from 1")

    pack: Literal["auto", "off"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="Most cells trained at once; auto by free workers and memory, off for one.",
    )
    compile: bool = Field(False, description="Compile the training steps of long runs.")


ENTRIES = "x-entries"


class Entries:
    """Annotation of a value that holds entries of an axis: how an editor checks it.

    Attributes:
        axis: Which axis.
        form: ``one`` (any parameter may be a list), ``settled`` (none expands) or ``pattern``.
    """

    def __init__(self, axis: str, form: Literal["one", "settled", "pattern"] = "one") -> None:
        self.axis = axis
        self.form = form

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """A mark; :func:`harness.suite.schema.json_schema` makes a reference of it."""
        return {ENTRIES: f"{self.axis}.{self.form}"}


LIST, SINGLE = "<list>", "<single>"
"""Marks of which form was given; pydantic puts them into the path of an error."""

_Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
_Seeds = Annotated[list[_Seed], Field(min_length=1), Tag(LIST)]
_ListOrSingle = Discriminator(lambda value: LIST if isinstance(value, list) else SINGLE)


class Grid(_Strict):
    """The axes; every combination of one entry of each is a cell.

    Attributes:
        architectures: Networks.
        regularizers: Penalties added to the task's loss.
        datasets: What is trained on.
        seeds: A count (3 means 0, 1, 2) or a list of seeds.
    """

    architectures: list[Annotated[Any, Entries("architecture")]] = Field(
        min_length=1, description="Networks."
    )
    regularizers: list[Annotated[Any, Entries("regularizer")]] = Field(
        ["none"], min_length=1, description="Penalties added to the task's loss."
    )
    datasets: list[Annotated[Any, Entries("dataset")]] = Field(
        min_length=1, description="What is trained on."
    )
    seeds: Annotated[
        Annotated[int, Field(ge=1, le=MAX_SEED), Tag(SINGLE)] | _Seeds, _ListOrSingle
    ] = Field(1, description="A count (3 means 0, 1, 2) or a list of seeds.")


class Rule(_Strict):
    """Which cells are meant: every key given must match, a list means any of its items.

    Attributes:
        task: A name, or a mapping with a name and some parameters; likewise the next three.
        architecture: Likewise.
        regularizer: Likewise.
        dataset: Likewise.
        seed: A seed or a list of seeds.
    """

    task: Annotated[Any, Entries("task", "pattern")] = None
    architecture: Annotated[Any, Entries("architecture", "pattern")] = None
    regularizer: Annotated[Any, Entries("regularizer", "pattern")] = None
    dataset: Annotated[Any, Entries("dataset", "pattern")] = None
    seed: Annotated[Annotated[_Seed, Tag(SINGLE)] | _Seeds, _ListOrSingle] = Field(
        0, description="A seed or a list of seeds."
    )


class Override(_Strict):
    """Other training settings for some cells.

    Attributes:
        match: Which cells.
        training: The settings that differ.
    """

    match: Rule = Field(description="Which cells, in the form of an exclude rule.")
    training: dict[str, Any] = Field(min_length=1, description="The settings that differ.")


class Suite(_Strict):
    """A suite as it is written.

    Attributes:
        name: What it is called; also the name of its folder in a store.
        about: The question it asks.
        task: What the networks are trained for.
        grid: The axes.
        exclude: Cells that are left out.
        training: How cells are trained; a list as a value expands like the grid's.
        overrides: Other training settings for some cells; later ones win.
        probes: What is measured of each cell; :data:`USUAL_PROBES` if left out.
        resources: What one cell takes while it runs.
    """

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] = Field(
        description="What it is called; also the name of its folder in a store."
    )
    about: str = Field("", description="The question it asks.")
    task: Annotated[Any, Entries("task")] = Field(
        "density", description="What the networks are trained for."
    )
    grid: Grid = Field(description="The axes; each combination is a cell.")
    exclude: list[Rule] = Field([], description="Cells that are left out.")
    training: dict[str, Any] = Field(
        {}, description="How cells are trained; a list as a value expands like the grid's."
    )
    overrides: list[Override] = Field(
        [], description="Other training settings for some cells; later ones win."
    )
    probes: Annotated[list[Annotated[Any, Entries("probe", "settled")]], Field(min_length=1)] = (
        Field(
            default_factory=lambda: list(USUAL_PROBES),
            description=f"What is measured of each cell; {', '.join(USUAL_PROBES)} if left out.",
        )
    )
    resources: Resources = Field(
        default_factory=Resources, description="What one cell takes while it runs."
    )


MODELS: dict[Key, type[BaseModel]] = {
    (): Suite,
    ("grid",): Grid,
    ("resources",): Resources,
    ("training",): Training,
    ("exclude",): Rule,
    ("overrides",): Override,
    ("overrides", "match"): Rule,
    ("overrides", "training"): Training,
}
"""The model at each key path, list positions left out."""
