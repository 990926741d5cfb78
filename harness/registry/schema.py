"""JSON Schema of entries as a suite writes them."""

from typing import Any

from harness.registry.entry import PRESET, Entry
from harness.registry.imported import IMPORT
from harness.registry.lookup import get, names


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
        required = own.get("required", [])
        if found.presets:
            preset = preset_schema(found)
            properties[PRESET] = value_or_list(preset) if lists else preset
            required = []  # a preset may give what is needed
        forms.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name", *required],
                "additionalProperties": False,
            }
        )
    return {"anyOf": [*forms, *imported_schemas(axis)]}


def imported_schemas(axis: str) -> list[dict[str, Any]]:
    """Of an architecture that is in no registry: its path, alone or with its parameters."""
    if axis != "architecture":
        return []
    path = {"type": "string", "pattern": "^[^:]+:[^:]+$"}
    properties = {IMPORT: value_or_list({**path, "description": "module:factory"})}
    return [path, {"type": "object", "properties": properties, "required": [IMPORT]}]


def preset_schema(found: Entry) -> dict[str, Any]:
    """JSON Schema of the name of one of an entry's presets."""
    return {"enum": sorted(found.presets), "description": "Parameters by the name of a setting."}


def value_or_list(item: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a value, or of a list that stands for several of them."""
    shared = {key: value for key, value in item.items() if key in {"default", "description"}}
    alone = {key: value for key, value in item.items() if key not in shared}
    return {"anyOf": [alone, {"type": "array", "items": alone, "minItems": 1}], **shared}
