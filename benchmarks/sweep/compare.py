"""``innbench run`` against each contender: its run between two of ours.

The contenders take minutes, ``innbench run`` does not, so it runs before and after each of them:
a round gives two ratios for each contender, and their distance shows how steady the machine was.
The contender that is nearest to its target has more rounds than the others.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks.progress import say
from benchmarks.rounds import seconds
from benchmarks.row import Row
from benchmarks.sweep import cell_file
from benchmarks.sweep.contenders import CONTENDERS, INNBENCH, SUITE_FILE, Contender, Place
from harness.results.ledger import committed, last_attempts
from harness.suite.cell import Cell
from harness.suite.load import load


def rows(most_rounds: int | None = None) -> list[Row]:
    cells = load(SUITE_FILE).cells
    ours: dict[str, list[float]] = {one.name: [] for one in CONTENDERS}
    theirs: dict[str, list[float]] = {one.name: [] for one in CONTENDERS}
    before = timed(INNBENCH, cells)
    most = max(one.rounds for one in CONTENDERS)
    for number in range(min(most, most_rounds or most)):
        for one in CONTENDERS if number % 2 == 0 else CONTENDERS[::-1]:
            if number >= one.rounds:
                continue
            taken = timed(one, cells)
            after = timed(INNBENCH, cells)
            ours[one.name] += [before, after]
            theirs[one.name] += [taken, taken]
            before = after
    return [
        Row(
            group="sweep",
            subject=INNBENCH.name,
            contender=one.name,
            setting=f"{len(cells)} cells",
            members=1,
            unit="×",
            values=tuple(b / a for a, b in zip(ours[one.name], theirs[one.name], strict=True)),
            target=one.target,
            rate=len(cells) / statistics.median(ours[one.name]),
            contender_rate=len(cells) / statistics.median(theirs[one.name]),
            rate_unit="cells/s",
        )
        for one in CONTENDERS
    ]


def timed(contender: Contender, cells: tuple[Cell, ...]) -> float:
    """Seconds of a run into a store of its own.

    Raises:
        AssertionError: It did not leave every cell, or left one that failed.
    """
    # Ray puts sockets into the folder, whose paths may have 107 bytes.
    with tempfile.TemporaryDirectory(
        prefix="bench-", dir=_short_place(), ignore_cleanup_errors=True
    ) as folder:
        place = Place(Path(folder, "cells"), Path(folder, "store"), Path(folder, "x"))
        place.cells.mkdir()
        place.scratch.mkdir()
        cell_file.write(place.cells, [(cell.id, cell.specification()) for cell in cells])
        say(f"sweep, {len(cells)} cells: {contender.name} …")
        taken = seconds(lambda: contender.run(place))
        if committed(place.store, cell_file.SUITE) != {cell.id for cell in cells}:
            raise AssertionError(f"{contender.name} did not commit every cell")
        if last_attempts(place.store, cell_file.SUITE):
            raise AssertionError(f"{contender.name} had failures")
    say(f"sweep, {len(cells)} cells: {contender.name} took {taken:.1f} s")
    return taken


def _short_place() -> str:
    place = tempfile.gettempdir()
    return place if len(place) < 16 else "/tmp"
