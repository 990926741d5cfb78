"""What a suite says of an entry, settled; and an entry built from that."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, core_schema

from harness.errors import Key, allowed_and_nearest
from harness.registry.entry import EVERY, PRESET, Choice, Entry, UnresolvedError, is_stored
from harness.registry.imported import IMPORT
from harness.registry.lookup import get
from harness.registry.schema import choice_schema


def resolve(axis: str, value: object) -> Choice:
    """Settle ``"name"`` or ``{"name": …, parameter: value, …}`` into a :class:`Choice`.

    ``{"name": …, "preset": …, parameter: value, …}`` has the preset's parameters where none is
    given. It settles to what it would when written out: a preset is no part of an identity.
    ``{"import": "module:factory", …}`` is an architecture that is in no registry.

    Raises:
        UnresolvedError: The name or some parameters are not what an entry takes; all are named.
    """
    if isinstance(value, Choice):
        value = {"name": value.name, **value.parameters, **_often(value.every)}
    if isinstance(value, str):
        value = {"name": value}
    if (named := by_name(axis, value)) is not value:
        try:
            return resolve(axis, named)
        except UnresolvedError as error:
            problems = [(key or (IMPORT,), message) for key, message in error.problems]
            raise UnresolvedError(problems) from None
    what = axis.replace("_", " ")
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        sentence = f"expected a name, or a mapping with a 'name', of the axis {what}; got {value!r}"
        raise UnresolvedError([((), sentence)])
    found = get(axis, value["name"])
    if is_stored(value):
        if value["version"] != found.version:
            sentence = (
                f"{what} {found.name!r} was settled as version {value['version']}; "
                f"this one is version {found.version}"
            )
            raise UnresolvedError([((), sentence)])
        value = {"name": value["name"], **value["parameters"], **_often(value.get(EVERY))}
    return settled(found, {key: item for key, item in value.items() if key != "name"})


def _often(every: object) -> dict[str, object]:
    return {} if every is None else {EVERY: every}


def by_name(axis: str, value: object) -> object:
    """``{"import": path, …}`` of an architecture as ``{"name": path, …}``; others as they are."""
    if axis != "architecture" or not isinstance(value, Mapping) or "name" in value:
        return value
    if not isinstance(value.get(IMPORT), str):
        return value
    rest = {key: item for key, item in value.items() if key != IMPORT}
    return {"name": value[IMPORT], **rest}


def settled(found: Entry, given: Mapping[str, Any]) -> Choice:
    """An entry with some of its parameters given, by name or through a preset.

    Raises:
        UnresolvedError: The entry does not take them, or needs others.
    """
    try:
        parameters = found.parameters.model_validate(written_out(found, given))
    except ValidationError as error:
        problems = [pair for e in error.errors() for pair in _sentences(found, dict(e))]
        raise UnresolvedError(problems) from None
    own = parameters.model_dump(mode="json")
    every = own.pop(EVERY) if found.axis == "probe" else None
    return Choice(name=found.name, version=found.version, parameters=own, every=every)


def written_out(found: Entry, value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping of an entry with its preset's parameters in place of the preset, if it has one.

    Raises:
        UnresolvedError: The entry has no such preset.
    """
    if PRESET not in value:
        return dict(value)
    given, what = value[PRESET], f"{found.axis.replace('_', ' ')} {found.name!r}"
    if isinstance(given, str) and given in found.presets:
        return {**found.presets[given], **{key: one for key, one in value.items() if key != PRESET}}
    if not found.presets:
        sentence = f"{what} has no presets"
    elif isinstance(given, str):
        sentence = f"{what} has no preset {given!r}; {allowed_and_nearest(given, found.presets)}"
    else:
        sentence = f"{what} takes the name of a preset, not {given!r}"
    raise UnresolvedError([((PRESET,), sentence)])


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
        presets = [PRESET] if found.presets else []
        hint = allowed_and_nearest(given, [*found.parameters.model_fields, *presets])
        return location, f"{what} has no parameter {given!r}; {hint}"
    if error["type"] == "literal_error":
        given, allowed = str(error["input"]), re.findall(r"'([^']*)'", error["ctx"]["expected"])
        return location, f"{what} does not take {given!r}; {allowed_and_nearest(given, allowed)}"
    if error["type"] == "missing":
        return location[:-1], f"{what} needs the parameter {location[-1]!r}"
    return location, f"{what}: {error['msg'].lower()}; got {error['input']!r}"


def label(axis: str, choice: Choice) -> str:
    """A short readable form: the name, and the parameters that differ from their defaults.

    ``affine(scale=exp, width=64)``; a nested choice is always shown, for it names what differs,
    unless its parameter is marked as quiet.
    """
    shown = []
    # In the order of declaration: a choice read back from a store has its parameters sorted.
    for key, field in get(axis, choice.name).parameters.model_fields.items():
        if key not in choice.parameters:
            continue
        value = choice.parameters[key]
        nested = next((m for m in field.metadata if isinstance(m, Nested)), None)
        if nested is not None:
            inner = Choice.model_validate(value)
            if not (nested.quiet and inner == resolve(nested.axis, field.default)):
                shown.append(f"{key}={label(nested.axis, inner)}")
        elif field.is_required() or _shown(value) != _shown(field.default):
            shown.append(f"{key}={_shown(value)}")
    return f"{choice.name}({', '.join(shown)})" if shown else choice.name


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class Nested:
    """Annotation of a parameter that is itself an entry: ``Annotated[dict[str, Any], Nested(…)]``.

    A suite gives it by name or as a mapping; the factory receives the settled form of
    :class:`Choice`, and builds it with :func:`build`.

    Args:
        axis: Which axis.
        quiet: A label leaves it out where it is the default.
    """

    def __init__(self, axis: str, *, quiet: bool = False) -> None:
        self.axis, self.quiet = axis, quiet

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


def build(axis: str, choice: Choice | Mapping[str, Any], *given: Any) -> Any:
    """Call the entry's factory with what the harness gives and the choice's parameters."""
    settled = choice if isinstance(choice, Choice) else Choice.model_validate(choice)
    return get(axis, settled.name).factory(*given, **settled.parameters)
