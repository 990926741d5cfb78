"""What a suite can name."""

from typing import Any

from harness import registry
from harness.errors import InputError, allowed_and_nearest
from harness.suite.load import suites


def listing(axis: str | None) -> list[dict[str, Any]]:
    """Entries of one axis, or of all axes and then the suites that ship.

    Broken plug-ins are listed too, with what is wrong in place of the summary.

    Raises:
        InputError: No such axis.
    """
    known = [*registry.AXES, "suite"]
    if axis is not None and axis.removesuffix("s") in known:
        axis = axis.removesuffix("s")
    if axis is not None and axis not in known:
        raise InputError(f"unknown axis {axis!r}; {allowed_and_nearest(axis, known)}")
    rows = []
    for one in known if axis is None else [axis]:
        rows += _suites() if one == "suite" else _entries(one)
    return rows


def _entries(axis: str) -> list[dict[str, Any]]:
    rows = []
    for name in registry.names(axis):
        entry = registry.get(axis, name)
        fields = entry.parameters.model_fields
        parameters = {
            key: {"required": True} if field.is_required() else {"default": field.default}
            for key, field in fields.items()
        }
        rows.append(
            {
                "axis": axis,
                "name": name,
                "version": entry.version,
                "origin": entry.origin,
                "summary": entry.summary.replace("``", ""),
                "parameters": parameters,
                "presets": {key: dict(given) for key, given in sorted(entry.presets.items())},
            }
        )
    for label, reason in registry.broken(axis).items():
        rows.append(
            {
                "axis": axis,
                "name": label,
                "version": None,
                "origin": "broken plug-in",
                "summary": reason,
                "parameters": {},
                "presets": {},
            }
        )
    return rows


def _suites() -> list[dict[str, Any]]:
    return [
        {
            "axis": "suite",
            "name": name,
            "version": None,
            "origin": "innbench",
            "summary": f"innbench plan {name}",
            "parameters": {},
            "presets": {},
        }
        for name in suites()
    ]
