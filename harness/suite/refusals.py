"""Combinations that an entry on some axis refuses, each distinct reason told once."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from harness.errors import Problem
from harness.registry import Combination, Shape, build, get, label
from harness.suite.choices import Placed
from harness.suite.document import Document

Combo = Mapping[str, Placed]
"""One settled entry of each axis, by axis."""

_Reason = tuple[str, str, str]  # axis, name of the entry that refuses, why


def dataset_shapes(
    datasets: Sequence[Placed], document: Document, problems: list[Problem]
) -> dict[int, Shape]:
    """Shape of one input of each dataset, by its ``id()``; what cannot be built is told."""
    shapes = {}
    for one in datasets:
        try:
            shapes[id(one)] = tuple(build("dataset", one.choice).shape)
        except Exception as error:  # a stranger's entry may raise anything
            message = f"dataset {one.choice.name!r} cannot be built: {_said(error)}"
            problems.append(document.problem(one.key, message))
    return shapes


def refused(
    combos: Sequence[tuple[Combo, Shape]], missing: Collection[str], document: Document
) -> Iterator[Problem]:
    """One problem for each reason that some entry has against some combination.

    Args:
        combos: Combinations, each with the shape of its dataset's inputs.
        missing: Axes of which the suite has no entry that can be used, so that others stand in:
            what an entry says against all of these, it says whatever is meant there.
        document: The suite.
    """
    alike: dict[tuple[int, ...], list[tuple[Combo, Shape]]] = {}
    for combo, shape in combos:
        meant = tuple(id(one) for axis, one in combo.items() if axis not in missing)
        alike.setdefault(meant, []).append((combo, shape))
    found: dict[_Reason, list[Combo]] = {}
    for group in alike.values():
        said = [dict.fromkeys(_reasons(combo, shape)) for combo, shape in group]
        for axis, reason in said[0]:
            if axis not in missing and all((axis, reason) in one for one in said):
                key = (axis, group[0][0][axis].choice.name, reason)
                found.setdefault(key, []).extend(combo for combo, _ in group)
    for (axis, name, reason), refusing in found.items():
        having = [combo for combo, _ in combos if combo[axis].choice.name == name]
        yield _problem(axis, reason, refusing, having, document)


def _reasons(combo: Combo, shape: Shape) -> Iterator[tuple[str, str]]:
    combination = Combination(**{axis: one.choice for axis, one in combo.items()}, shape=shape)
    for axis, one in combo.items():
        refuses = get(axis, one.choice.name).refuses
        if refuses is None:
            continue
        try:
            reason = refuses(combination)
        except Exception as error:  # a stranger's entry may raise anything
            reason = _said(error)
        if reason:
            yield axis, reason


def _said(error: Exception) -> str:
    spoken = isinstance(error, ValueError) and str(error)
    return spoken or f"{type(error).__name__}: {error}"


def _problem(
    axis: str, reason: str, refusing: list[Combo], having: list[Combo], document: Document
) -> Problem:
    """Name the other side of the refusal: the entries of the axes that make a difference."""
    others = [other for other in refusing[0] if other != axis]
    deciding = [
        other for other in others if len(_distinct(other, refusing)) < len(_distinct(other, having))
    ]
    # Where every combination is refused nothing tells which axis decides: name those of one entry.
    named = deciding or [other for other in others if len(_distinct(other, having)) == 1] or others
    partners = "; ".join(
        f"{other} {_listing(other, refusing, having, document)}" for other in named
    )
    own = _distinct(axis, refusing)
    who = _who(axis, own[0], having) if len(own) == 1 else own[0].choice.name
    also = sorted({document.line(one.key) for one in own} - {document.line(own[0].key)})
    if also:
        who += f" (also on line {', '.join(map(str, also))})"
    message = f"{axis} {who} cannot be combined with {partners}: {reason}"
    return document.problem(own[0].key, message)


def _distinct(axis: str, combos: Sequence[Combo]) -> list[Placed]:
    return list({id(combo[axis]): combo[axis] for combo in combos}.values())


def _listing(axis: str, refusing: list[Combo], having: list[Combo], document: Document) -> str:
    entries = _distinct(axis, refusing)
    shown = [f"{_who(axis, one, having)} ({_place(one, document)})" for one in entries[:3]]
    more = [f"{len(entries) - 3} more"] if len(entries) > 3 else []
    return ", ".join(shown + more)


def _who(axis: str, one: Placed, having: list[Combo]) -> str:
    """The name, with parameters where the suite has the entry more than once."""
    same = [other for other in _distinct(axis, having) if other.choice.name == one.choice.name]
    return one.choice.name if len(same) == 1 else label(axis, one.choice)


def _place(one: Placed, document: Document) -> str:
    written = one.key in document.lines
    return f"line {document.line(one.key)}" if written else "the default"
