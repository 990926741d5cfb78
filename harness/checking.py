"""What ``innbench check`` does: find what is named, run the checks, draw the table."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as RichTable

from harness import registry
from harness.bijections.base import Bijection
from harness.conformance.candidate import Candidate
from harness.conformance.registered import (
    PARTS,
    SMALLEST,
    candidate,
    refusal,
    within_an_architecture,
)
from harness.conformance.row import Row
from harness.conformance.suite import steps
from harness.errors import InputError, allowed_and_nearest
from harness.progress import StepProgress
from harness.registry import Choice, Shape, UnresolvedError
from harness.registry.entry import Direction, described
from harness.registry.imported import imported
from harness.results.render import drawing, jsonable


def named(name: str, shape: str | None) -> Candidate:
    """The architecture, or part of one, of that name, or the factory ``module:factory``.

    Args:
        name: Of an architecture; else of a transformer, a scale map or a mixing, which is checked
            within an architecture that takes it; or of a factory.
        shape: Of one input, as ``2`` or ``1,8,8``; the smallest that is taken if left out.

    Raises:
        InputError: There is no such thing, or it does not build a bijection.
    """
    wanted = None if shape is None else parsed(shape)
    if ":" in name:
        return _of_a_factory(name, wanted)
    axes = [axis for axis in registry.AXES if name in registry.names(axis)]
    parts = [axis for axis in PARTS if axis in axes]
    try:
        if parts and "architecture" not in axes:
            return within_an_architecture(parts[0], name, wanted)
        return candidate(registry.resolve("architecture", name), wanted)
    except UnresolvedError as error:
        raise InputError(_unresolved(name, axes, str(error))) from None
    except ValueError as error:
        raise InputError(f"{name} cannot be built: {error}") from None


def _unresolved(name: str, axes: list[str], said: str) -> str:
    """Why there is nothing of that name to check."""
    checked = ("architecture", *PARTS)
    broken = any(label.startswith(f"{name} (") for label in registry.broken("architecture"))
    if broken or set(axes) & set(checked):  # there is, and the registry has said what is wrong
        return said
    if axes:
        message = f"{name!r} is a {axes[0].replace('_', ' ')}, and check is of architectures"
        return f"{message} and of the parts of networks: {', '.join(PARTS)}"
    known = {one for axis in checked for one in registry.names(axis)}
    message = (
        f"unknown architecture or part of one {name!r} (a factory of your own: module:factory)"
    )
    return f"{message}; {allowed_and_nearest(name, known)}"


def parsed(shape: str) -> Shape:
    """``1,8,8`` or ``1x8x8`` as numbers, however many: which shapes it takes is for a network.

    Raises:
        InputError: It is no such list.
    """
    parts = shape.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--shape is positive numbers, as in 2 or 1,8,8; got {shape!r}")
    return tuple(int(part) for part in parts)


def run(subject: Candidate, console: Console) -> list[Row]:
    """All rows; progress on the console, as a bar on a terminal and plain lines elsewhere."""
    todo, rows = list(steps(subject)), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on numbers this small, threads wait for each other
    with StepProgress(console, len(todo)) as progress:
        for title, step in todo:
            progress.begin(title)
            found = step()
            rows += found
            failed = sum(not row.passed for row in found)
            state = f"{failed} of {len(found)} failed" if failed else f"{len(found)} passed"
            progress.end(f"{title}: {state}")
    torch.set_num_threads(threads)
    return rows


def as_text(subject: Candidate, rows: list[Row]) -> str:
    """The table of numbers, and a sentence for each that failed."""
    table = RichTable(box=None, pad_edge=False)
    # A table of numbers is never cut: it gets as wide as it must.
    texts = max(len(row.check) for row in rows), max(len(row.where) for row in rows)
    for column, width in zip(("check", "where"), texts, strict=True):
        table.add_column(column, no_wrap=True, min_width=width)
    for column in ("measured", "allowed"):
        table.add_column(column, no_wrap=True, min_width=9, justify="right")
    table.add_column("", no_wrap=True, min_width=4)
    for row in rows:
        numbers = f"{row.measured:.3g}", f"{row.allowed:.3g}"
        table.add_row(row.check, row.where, *numbers, "pass" if row.passed else "FAIL")
    failed = [row for row in rows if not row.passed]
    shape = ",".join(map(str, subject.shape))
    end = f"{subject.name} on the shape {shape}: {len(rows) - len(failed)} of {len(rows)} passed\n"
    sentences = "".join(f"FAIL {row.sentence}\n" for row in failed)
    return f"{drawing(table)}\n{sentences}{end}"


def as_plain(subject: Candidate, rows: list[Row]) -> dict[str, Any]:
    """In terms of JSON."""
    return {
        "name": subject.name,
        "shape": list(subject.shape),
        "passed": all(row.passed for row in rows),
        "rows": [
            {
                "check": row.check,
                "where": row.where,
                "measured": jsonable(row.measured),
                "allowed": jsonable(row.allowed),
                "passed": row.passed,
                "sentence": row.sentence,
            }
            for row in rows
        ],
    }


Factory = Callable[[Shape, torch.Generator], Any]


def _of_a_factory(name: str, shape: Shape | None) -> Candidate:
    factory: Factory = imported(name)
    refuses = None
    choice = Choice(name=name, version=0)
    branches: tuple[Direction, ...] = ()
    learns_inverse = False
    if hasattr(factory, "__innbench_entry__"):
        try:
            entry = described("architecture", name, factory, "here")
            choice = registry.settled(entry, {})
        except UnresolvedError as error:
            raise InputError(str(error)) from None
        except Exception as error:  # noqa: BLE001, RUF100 - a stranger's annotations
            raised = f"{type(error).__name__}: {error}".split("\n")[0]
            raise InputError(f"{name} is no entry: {raised}") from None
        branches, refuses = entry.branches, entry.refuses
        learns_inverse = entry.learns_inverse
        factory = partial(factory, **choice.parameters)
    refused = ""
    said: str | None
    for one in (shape,) if shape else SMALLEST:
        try:
            said = refusal(refuses, choice, one)
            built = None if said else factory(one, torch.Generator().manual_seed(0))
        except Exception as error:
            said = f"{type(error).__name__}: {error}".split("\n")[0]
        if said:
            refused = refused or f"{name} cannot be built on the shape {one}: {said}"
            continue
        if not isinstance(built, Bijection):
            kind = type(built).__name__
            message = f"{name} returns {kind}, and not a harness.bijections.base.Bijection"
            raise InputError(message)
        return Candidate(name, one, partial(factory, one), branches, learns_inverse)
    raise InputError(refused)
