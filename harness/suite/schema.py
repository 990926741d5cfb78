"""JSON Schema of a suite file, for editors."""

from typing import Any

from harness.registry import (
    PRESET,
    choice_schema,
    get,
    imported_schemas,
    names,
    preset_schema,
    value_or_list,
)
from harness.suite.model import ENTRIES, Suite, Training
from harness.suite.rules import AXES, nested_axis

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """What :func:`harness.suite.load.load` takes, as draft 2020-12.

    It knows the keys, types, ranges and names, those of plug-ins too. What depends on more than
    one value (combinations, repetitions, rules that match nothing) only loading can tell.
    """
    schema = _with_references(Suite.model_json_schema())
    definitions = schema.pop("$defs")
    for axis in AXES:
        definitions[f"{axis}.one"] = choice_schema(axis)
        definitions[f"{axis}.pattern"] = _pattern(axis)
    definitions["probe.settled"] = choice_schema("probe", lists=False)
    for settings in (schema, definitions["Override"]):
        settings["properties"]["training"] |= _training()
    definitions["Rule"]["minProperties"] = 1
    return {"$schema": DIALECT, **schema, "$defs": definitions}


def _with_references(schema: Any) -> Any:
    """The schema with every mark of :class:`harness.suite.model.Entries` as a reference."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        "$ref" if key == ENTRIES else key: f"#/$defs/{item}"
        if key == ENTRIES
        else _with_references(item)
        for key, item in schema.items()
    }


def _training() -> dict[str, Any]:
    """Some settings, each a value or a list of values."""
    properties = Training.model_json_schema()["properties"]
    return {
        "type": "object",
        "properties": {key: value_or_list(item) for key, item in properties.items()},
        "additionalProperties": False,
    }


def _pattern(axis: str) -> dict[str, Any]:
    """An entry of a rule: a name, or a mapping with a name and some parameters, or a list."""
    forms: list[dict[str, Any]] = [{"enum": names(axis)}]
    for name in names(axis):
        properties: dict[str, Any] = {"name": {"const": name}}
        for parameter in get(axis, name).parameters.model_fields:
            inner = nested_axis(axis, name, parameter)
            properties[parameter] = {} if inner is None else _pattern(inner)
        if get(axis, name).presets:
            properties[PRESET] = value_or_list(preset_schema(get(axis, name)))
        forms.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name"],
                "additionalProperties": False,
            }
        )
    return value_or_list({"anyOf": [*forms, *imported_schemas(axis)]})
