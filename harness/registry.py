"""Name → entry, for every axis of the grid, from this package and from others.

An entry is one factory function in one file. Its positional parameters are what the harness
gives (a shape, a generator); its keyword-only parameters are what a suite may set, and their
annotations and defaults are the only place where they are declared.

Another package adds entries through the entry-point group ``innbench.<axis>``, for example
``[project.entry-points."innbench.architecture"] my_flow = "my_package.flows:my_flow"``.
A plug-in that cannot be imported is reported by :func:`broken` and otherwise ignored.
"""

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, create_model
from pydantic_core import PydanticCustomError, core_schema

from harness.errors import Key, allowed_and_nearest, dotted

Shape = tuple[int, ...]

BUILT_IN: dict[str, dict[str, str]] = {
    "task": {
        "density": "harness.tasks.density:density",
    },
    "architecture": {
        "additive": "harness.architectures.additive:additive",
        "affine": "harness.architectures.affine:affine",
        "glow": "harness.architectures.glow:glow",
        "residual": "harness.architectures.residual:residual",
    },
    "regularizer": {
        "none": "harness.regularizers.none:none",
        "finite_difference": "harness.regularizers.finite_difference:finite_difference",
        "log_scale": "harness.regularizers.log_scale:log_scale",
        "normalizing_flow": "harness.regularizers.normalizing_flow:normalizing_flow",
    },
    "dataset": {
        "checkerboard": "harness.datasets.checkerboard:checkerboard",
        "digits": "harness.datasets.digits:digits",
        "eight_gaussians": "harness.datasets.eight_gaussians:eight_gaussians",
    },
    "probe": {
        "bi_lipschitz": "harness.probes.bi_lipschitz:bi_lipschitz",
        "log_det": "harness.probes.log_det:log_det",
        "reconstruction": "harness.probes.reconstruction:reconstruction",
        "sampling": "harness.probes.sampling:sampling",
    },
    "scale_map": {
        "bounded_exp": "harness.bijections.scale_maps:bounded_exp",
        "bounded_sigmoid": "harness.bijections.scale_maps:bounded_sigmoid",
        "exp": "harness.bijections.scale_maps:exp",
        "sigmoid": "harness.bijections.scale_maps:sigmoid",
    },
    "transformer": {
        "additive": "harness.bijections.transformers:additive",
        "affine": "harness.bijections.transformers:affine",
    },
}
AXES = tuple(BUILT_IN)


class Choice(BaseModel):
    """An entry with every parameter settled: what a cell's identity is made of.

    Attributes:
        name: The entry's name on its axis.
        version: The entry's version; it is raised when the same parameters give other numbers.
        parameters: All parameters, defaults included; a nested choice is a mapping of this shape.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    parameters: dict[str, JsonValue] = {}


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
Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        axis: Which axis it is on.
        name: Its name there.
        version: Raised when the same parameters give other numbers.
        factory: What builds it.
        parameters: The model of what a suite may set.
        refuses: Says why a combination is impossible, or ``None``.
        branches: Directions of an architecture that branch on data, so that no pack can run them.
        uses: Directions that a training step takes for a task or a regularizer.
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
) -> Callable[[Factory], Factory]:
    """Mark a factory as an entry; see :class:`Entry`."""

    def mark(factory: Factory) -> Factory:
        factory.__innbench_entry__ = (version, refuses, branches, uses)  # type: ignore[attr-defined]
        return factory

    return mark


def _load(axis: str, name: str, factory: Any, origin: str) -> Entry:
    try:
        version, refuses, branches, uses = factory.__innbench_entry__
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
    strict = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False
    )
    model = create_model(name, __config__=strict, **fields)
    summary = (inspect.getdoc(factory) or "").split("\n")[0]
    return Entry(axis, name, version, factory, model, refuses, branches, uses, summary, origin)


@functools.cache
def _plug_ins(axis: str) -> tuple[dict[str, Entry], dict[str, str]]:
    found: dict[str, Entry] = {}
    failed: dict[str, str] = {}
    for point in entry_points(group=f"innbench.{axis}"):
        origin = point.dist.name if point.dist else "unknown"
        label = f"{point.name} ({origin})"
        if point.name in BUILT_IN[axis] or point.name in found:
            failed[label] = f"the name {point.name!r} is taken"
            continue
        try:
            found[point.name] = _load(axis, point.name, point.load(), origin)
        except (Exception, SystemExit) as error:  # noqa: BLE001, RUF100 - a stranger's module may raise anything
            failed[label] = f"{type(error).__name__}: {error}"
    return found, failed


def names(axis: str) -> list[str]:
    """All names on an axis, sorted."""
    return sorted({*BUILT_IN[axis], *_plug_ins(axis)[0]})


def broken(axis: str) -> dict[str, str]:
    """Plug-ins of an axis that could not be loaded: label → why."""
    return dict(_plug_ins(axis)[1])


@functools.cache
def get(axis: str, name: str) -> Entry:
    """The entry of that name.

    Raises:
        UnresolvedError: No such name on the axis; the message lists the names and the nearest.
    """
    if name in BUILT_IN[axis]:
        module, _, attribute = BUILT_IN[axis][name].partition(":")
        return _load(axis, name, getattr(importlib.import_module(module), attribute), "innbench")
    try:
        return _plug_ins(axis)[0][name]
    except KeyError:
        what = axis.replace("_", " ")
        failed = [why for plug_in, why in broken(axis).items() if plug_in.startswith(f"{name} (")]
        sentence = (
            f"the plug-in of {what} {name!r} cannot be loaded: {failed[0]}"
            if failed
            else f"unknown {what} {name!r}; {allowed_and_nearest(name, names(axis))}"
        )
        raise UnresolvedError([((), sentence)]) from None


def resolve(axis: str, value: object) -> Choice:
    """Settle ``"name"`` or ``{"name": …, parameter: value, …}`` into a :class:`Choice`.

    Raises:
        UnresolvedError: The name or some parameters are not what an entry takes; all are named.
    """
    if isinstance(value, Choice):
        value = {"name": value.name, **value.parameters}
    if isinstance(value, str):
        value = {"name": value}
    what = axis.replace("_", " ")
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        sentence = f"expected a name, or a mapping with a 'name', of the axis {what}; got {value!r}"
        raise UnresolvedError([((), sentence)])
    found = get(axis, value["name"])
    if set(value) == {"name", "version", "parameters"}:  # a choice in its stored form
        if value["version"] != found.version:
            sentence = (
                f"{what} {found.name!r} was settled as version {value['version']}; "
                f"this one is version {found.version}"
            )
            raise UnresolvedError([((), sentence)])
        value = {"name": value["name"], **value["parameters"]}
    given = {key: item for key, item in value.items() if key != "name"}
    try:
        settled = found.parameters.model_validate(given)
    except ValidationError as error:
        problems = [pair for e in error.errors() for pair in _sentences(found, dict(e))]
        raise UnresolvedError(problems) from None
    return Choice(
        name=found.name, version=found.version, parameters=settled.model_dump(mode="json")
    )


def _sentences(found: Entry, error: dict[str, Any]) -> list[tuple[Key, str]]:
    """One pydantic error of an entry's parameters, as paths and sentences."""
    if error["type"] == "unresolved":  # a nested entry: its paths continue this one
        return [((*error["loc"], *key), sentence) for key, sentence in error["ctx"]["problems"]]
    return [_sentence(found, error)]


def _sentence(found: Entry, error: dict[str, Any]) -> tuple[Key, str]:
    location: Key = error["loc"]
    what = f"{found.axis.replace('_', ' ')} {found.name!r}"
    if error["type"] == "extra_forbidden":
        given = str(location[-1])
        hint = allowed_and_nearest(given, found.parameters.model_fields)
        return location, f"{what} has no parameter {given!r}; {hint}"
    if error["type"] == "literal_error":
        given, allowed = str(error["input"]), re.findall(r"'([^']*)'", error["ctx"]["expected"])
        return location, f"{what} does not take {given!r}; {allowed_and_nearest(given, allowed)}"
    if error["type"] == "missing":
        return location[:-1], f"{what} needs the parameter {location[-1]!r}"
    return location, f"{what}: {error['msg'].lower()}; got {error['input']!r}"


def label(axis: str, choice: Choice) -> str:
    """A short readable form: the name, and the parameters that differ from their defaults.

    ``affine(scale=exp, width=64)``; a nested choice is always shown, for it names what differs.
    """
    shown = []
    # In the order of declaration: a choice read back from a store has its parameters sorted.
    for key, field in get(axis, choice.name).parameters.model_fields.items():
        if key not in choice.parameters:
            continue
        value = choice.parameters[key]
        nested = next((m.axis for m in field.metadata if isinstance(m, Nested)), None)
        if nested is not None:
            shown.append(f"{key}={label(nested, Choice.model_validate(value))}")
        elif field.is_required() or _shown(value) != _shown(field.default):
            shown.append(f"{key}={_shown(value)}")
    return f"{choice.name}({', '.join(shown)})" if shown else choice.name


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class Nested:
    """Annotation of a parameter that is itself an entry: ``Annotated[dict[str, Any], Nested(…)]``.

    A suite gives it by name or as a mapping; the factory receives the settled form of
    :class:`Choice`, and builds it with :func:`build`.
    """

    def __init__(self, axis: str) -> None:
        self.axis = axis

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Validate by the registry."""

        def settle(value: object) -> dict[str, Any]:
            try:
                return resolve(self.axis, value).model_dump(mode="json")
            except UnresolvedError as error:
                context = {"sentence": str(error), "problems": error.problems}
                raise PydanticCustomError("unresolved", "{sentence}", context) from None

        return core_schema.no_info_plain_validator_function(settle)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """A name, or a mapping with that name and the entry's own parameters."""
        return choice_schema(self.axis)


def choice_schema(axis: str, *, lists: bool = True) -> dict[str, Any]:
    """JSON Schema of one entry of an axis as a suite writes it.

    Args:
        axis: Which axis.
        lists: Whether any parameter may be a list that stands for several values.
    """
    forms: list[dict[str, Any]] = [{"enum": names(axis)}]
    for name in names(axis):
        found = get(axis, name)
        own = found.parameters.model_json_schema()
        properties: dict[str, Any] = {"name": {"const": name, "description": found.summary}}
        for key, field in own.get("properties", {}).items():
            item = {k: v for k, v in field.items() if k != "title"}
            properties[key] = value_or_list(item) if lists else item
        forms.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name", *own.get("required", [])],
                "additionalProperties": False,
            }
        )
    return {"anyOf": forms}


def value_or_list(item: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a value, or of a list that stands for several of them."""
    shared = {key: value for key, value in item.items() if key in {"default", "description"}}
    alone = {key: value for key, value in item.items() if key not in shared}
    return {"anyOf": [alone, {"type": "array", "items": alone, "minItems": 1}], **shared}


def build(axis: str, choice: Choice | Mapping[str, Any], *given: Any) -> Any:
    """Call the entry's factory with what the harness gives and the choice's parameters."""
    settled = choice if isinstance(choice, Choice) else Choice.model_validate(choice)
    return get(axis, settled.name).factory(*given, **settled.parameters)
