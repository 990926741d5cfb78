"""In which fields two specifications differ, in words."""

import json
from collections.abc import Iterator
from typing import Any

from harness.registry import EVERY, is_stored

Specification = dict[str, Any]
"""A cell's specification as plain values."""

_ABSENT = object()


def parsed(text: str) -> Specification | None:
    """A stored specification of any identity version; ``None`` if it cannot be read."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


class Fields:
    """A specification as flat fields, taken apart once and compared often."""

    def __init__(self, specification: Specification) -> None:
        self.values = dict(_leaves(specification, ""))
        self._pairs = frozenset((path, repr(value)) for path, value in self.values.items())

    def distance(self, other: "Fields") -> int:
        """How many fields are on one side only, or have another value."""
        return len(self._pairs ^ other._pairs)

    def changes(self, new: "Fields") -> list[str]:
        """``["training.steps 300 → 500", "architecture.scale exp → sigmoid"]``, by field."""
        before, after = self.values, new.values
        differing = [
            path
            for path in sorted(before.keys() | after.keys())
            if before.get(path, _ABSENT) != after.get(path, _ABSENT)
        ]
        # Another entry has other parameters, of course: only its name is worth telling.
        return [
            f"{path} {_shown(before.get(path, _ABSENT))} → {_shown(after.get(path, _ABSENT))}"
            for path in differing
            if not any(path.startswith(f"{parent}.") for parent in differing)
        ]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if is_stored(value):
        yield path, value["name"]
        yield f"{path}.version", value["version"]
        if EVERY in value:
            yield f"{path}.{EVERY}", value[EVERY]
        value = value["parameters"]
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(map(is_stored, value)):
        for item in value:
            yield from _leaves(item, f"{path}.{item['name']}")
    else:
        yield path, value


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value)
