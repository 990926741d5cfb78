"""Written entries of one axis, expanded and settled."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harness.errors import Key, Problem, dotted
from harness.registry import Choice, UnresolvedError, is_stored, resolve
from harness.suite.cell import canonical
from harness.suite.document import Document

MAX_CELLS = 100_000


class Placed(NamedTuple):
    """A settled entry and the key path it came from."""

    choice: Choice
    key: Key


class _Expanded(NamedTuple):
    """A value without expanding lists; ``places`` leads from its key paths to the file's."""

    value: object
    places: dict[Key, Key]

    def place(self, key: Key) -> Key:
        """The file's path of a path in this value, or of what encloses it."""
        while key not in self.places:
            key = key[:-1]
        return self.places[key]


def settle(
    axis: str, written: object, key: Key, document: Document, problems: list[Problem]
) -> list[Placed]:
    """Expand one written entry and settle what comes out; add what is wrong to ``problems``."""
    count = _count(written)
    if count > MAX_CELLS:
        message = f"expands to {count} entries; a suite has at most {MAX_CELLS} cells"
        problems.append(document.problem(key, message))
        return []
    placed: list[Placed] = []
    for option in _expand(written, key):
        for place, message, of_key in _try(axis, option, placed):
            problem = document.problem(place, message, of_key=of_key)
            if problem not in problems:  # once, not once per combination of the others
                problems.append(problem)
    problems.extend(
        document.problem(empty, "should not be empty: it leaves nothing to run")
        for empty in _empty_lists(written, key)
    )
    return placed


def settle_as_is(
    axis: str, written: object, key: Key, document: Document, problems: list[Problem]
) -> list[Placed]:
    """Settle one written entry whose lists are plain values."""
    placed: list[Placed] = []
    option = _Expanded(written, dict(_paths(written, (), key)))
    for place, message, of_key in _try(axis, option, placed):
        problems.append(document.problem(place, message, of_key=of_key))
    return placed


def distinct(placed: list[Placed], document: Document, problems: list[Problem]) -> list[Placed]:
    """Drop entries that settle to the same as an earlier one, and say so."""
    first: dict[str, Placed] = {}
    for one in placed:
        form = canonical(one.choice.model_dump())
        if form in first:
            other = first[form].key
            message = (
                "two of its forms settle to the same: every cell of them would be there twice"
                if other == one.key
                else f"settles to the same as {dotted(other)} on line {document.line(other)}: "
                "every cell of it would be there twice"
            )
            problems.append(document.problem(one.key, message))
        else:
            first[form] = one
    return list(first.values())


def _try(axis: str, option: _Expanded, placed: list[Placed]) -> Iterator[tuple[Key, str, bool]]:
    """Settle one expanded entry into ``placed``, or say what is wrong and where."""
    stored = _stored_form(option.value, ())
    if stored is not None:
        message = "a suite gives parameters beside the name, and no version"
        yield option.place(stored), message, False
        return
    try:
        choice = resolve(axis, option.value)
        canonical(choice.model_dump())
    except UnresolvedError as error:
        for key, message in error.problems:
            yield option.place(key), message, bool(key)
    except ValueError:
        message = f"{axis.replace('_', ' ')} with a parameter that is not a finite number"
        yield option.place(()), message, False
    else:
        placed.append(Placed(choice, option.place(())))


def _stored_form(value: object, key: Key) -> Key | None:
    if not isinstance(value, Mapping):
        return None
    if is_stored(value):
        return key
    inside = (_stored_form(item, (*key, name)) for name, item in value.items())
    return next((found for found in inside if found is not None), None)


def _count(written: object) -> int:
    """How many entries a written one expands to."""
    if not isinstance(written, Mapping):
        return 1
    items = (
        sum(map(_count, item)) if isinstance(item, list) and name != "name" else _count(item)
        for name, item in written.items()
    )
    return math.prod(items)


def _expand(written: object, key: Key) -> Iterator[_Expanded]:
    if not isinstance(written, Mapping):
        yield _Expanded(written, dict(_paths(written, (), key)))
        return
    options = [list(_options(name, item, (*key, name))) for name, item in written.items()]
    for combination in itertools.product(*options):
        places: dict[Key, Key] = {(): key}
        for name, option in zip(written, combination, strict=True):
            places |= {(name, *inner): place for inner, place in option.places.items()}
        yield _Expanded(dict(zip(written, (o.value for o in combination), strict=True)), places)


def _options(name: str, item: object, key: Key) -> Iterator[_Expanded]:
    if isinstance(item, list) and name != "name":
        for i, one in enumerate(item):
            yield from _expand(one, (*key, i))
    else:
        yield from _expand(item, key)


def _paths(value: object, key: Key, place: Key) -> Iterator[tuple[Key, Key]]:
    yield key, place
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _paths(item, (*key, name), (*place, name))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _paths(item, (*key, i), (*place, i))


def _empty_lists(written: object, key: Key) -> Iterator[Key]:
    if isinstance(written, Mapping):
        for name, item in written.items():
            if isinstance(item, list):
                if not item:
                    yield (*key, name)
                for i, one in enumerate(item):
                    yield from _empty_lists(one, (*key, name, i))
            else:
                yield from _empty_lists(item, (*key, name))
