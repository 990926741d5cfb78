"""What a suite says of an entry, settled; and an entry built from that."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, core_schema

from harness.errors import Key, allowed_and_nearest
from harness.registry.entry import Choice, Entry, UnresolvedError
from harness.registry.lookup import get
from harness.registry.schema import choice_schema


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


def build(axis: str, choice: Choice | Mapping[str, Any], *given: Any) -> Any:
    """Call the entry's factory with what the harness gives and the choice's parameters."""
    settled = choice if isinstance(choice, Choice) else Choice.model_validate(choice)
    return get(axis, settled.name).factory(*given, **settled.parameters)
