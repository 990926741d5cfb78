"""What an entry is, and how a factory is marked as one."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from harness.errors import Key, dotted

Shape = tuple[int, ...]


class Choice(BaseModel):
    """An entry with every parameter settled: what a cell's identity is made of.

    Attributes:
        name: The entry's name on its axis.
        version: The entry's version; it is raised when the same parameters give other numbers.
        parameters: All parameters, defaults included; a nested choice is a mapping of this shape.
        every: Of a probe: it also runs before every so many training steps, from step 0 on; part
            of the identity, and of the stored form, only where it is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    parameters: dict[str, JsonValue] = {}
    every: int | None = Field(None, exclude_if=lambda every: every is None)


def is_stored(value: object) -> bool:
    """Whether a value has the form in which a :class:`Choice` is stored."""
    return isinstance(value, Mapping) and set(value) - {EVERY} == {"name", "version", "parameters"}


@dataclass(frozen=True)
class Combination:
    """What is known of a cell before anything is built; an entry may refuse it."""

    task: Choice
    architecture: Choice
    regularizer: Choice
    dataset: Choice
    shape: Shape


Refusal = Callable[[Combination], str | None]
Direction = Literal["forward", "inverse"]
Cost = Callable[[Mapping[str, Any], int, int], int]
"""What a probe costs, of its parameters, the dimensions of an input and how many sets there are."""

Factory = TypeVar("Factory", bound=Callable[..., Any])
Presets = Mapping[str, Mapping[str, Any]]
PRESET = "preset"
"""The key beside ``name`` that names a preset; no parameter may be called that."""
EVERY = "every"
"""The key beside a probe's ``name`` that says how often it runs during training; no parameter of a
probe may be called that."""
_EVERY = Annotated[
    int, Field(ge=1, le=10**9, description="Also before every so many training steps, from 0 on.")
]


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        axis: Which axis it is on.
        name: Its name there.
        version: Raised when the same parameters give other numbers.
        factory: What builds it.
        parameters: The model of what a suite may set; of a probe, ``every`` besides.
        refuses: Says why a combination is impossible, or ``None``.
        branches: Directions of an architecture that branch on data, so that no pack can run them.
        uses: Directions that a training step takes for a task or a regularizer.
        needs_graph: Of a regularizer: it looks at activations within a network, or differentiates
            twice, which is not for gradients that keep no graph.
        learns_inverse: Whether an architecture's inverse is a network of its own, to be trained.
        presets: Name → parameters, each one value: settings of a paper, by name.
        cost: Of a probe: how many passes of one input through the network it takes, forward or
            back, in all precisions; a product with a Jacobian counts as two.
        summary: First line of the factory's docstring.
        origin: The distribution that brought it.
    """

    axis: str
    name: str
    version: int
    factory: Callable[..., Any]
    parameters: type[BaseModel]
    refuses: Refusal | None
    branches: tuple[Direction, ...]
    uses: tuple[Direction, ...]
    learns_inverse: bool
    needs_graph: bool
    presets: Presets
    cost: Cost | None
    summary: str
    origin: str


class UnresolvedError(Exception):
    """A name or parameters that no entry takes; ``problems`` holds (path, sentence) pairs."""

    def __init__(self, problems: list[tuple[Key, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{dotted(k)}: {m}" if k else m for k, m in problems))


def entry(
    *,
    version: int,
    refuses: Refusal | None = None,
    branches: tuple[Direction, ...] = (),
    uses: tuple[Direction, ...] = ("forward",),
    learns_inverse: bool = False,
    needs_graph: bool = False,
    presets: Presets | None = None,
    cost: Cost | None = None,
) -> Callable[[Factory], Factory]:
    """Mark a factory as an entry; see :class:`Entry`."""

    def mark(factory: Factory) -> Factory:
        flags = (learns_inverse, needs_graph)
        marks = (version, refuses, branches, uses, flags, presets or {}, cost)
        factory.__innbench_entry__ = marks  # type: ignore[attr-defined]
        return factory

    return mark


def described(axis: str, name: str, factory: Any, origin: str) -> Entry:
    """The entry that a marked factory is.

    Raises:
        TypeError: It is not marked, or has a parameter whose name means something else.
    """
    try:
        version, refuses, branches, uses, flags, presets, cost = factory.__innbench_entry__
    except AttributeError:
        message = f"{factory!r} is not marked with @harness.registry.entry(version=…)"
        raise TypeError(message) from None
    hints = get_type_hints(factory, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            required = parameter.default is inspect.Parameter.empty
            default = ... if required else parameter.default
            fields[parameter.name] = (hints[parameter.name], default)
    if PRESET in fields:
        raise TypeError(f"{factory!r} has a parameter {PRESET!r}, which names a preset in a suite")
    if axis == "probe":
        if EVERY in fields:
            raise TypeError(
                f"{factory!r} has a parameter {EVERY!r}, which a suite says of any probe"
            )
        fields[EVERY] = (_EVERY | None, None)
    strict = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False
    )
    model = create_model(name, __config__=strict, **fields)
    summary = (inspect.getdoc(factory) or "").split("\n")[0]
    learns_inverse, needs_graph = flags
    marks = (refuses, branches, uses, learns_inverse, needs_graph, presets, cost)
    return Entry(axis, name, version, factory, model, *marks, summary, origin)
