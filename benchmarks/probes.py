"""What probes take beside the training that they follow: the cells of the quickstart.

As a sweep's worker runs them, pack by pack, on one thread; both times are what it stores of each
cell. Above 1 all probes of a cell take less than its training.
"""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.progress import say
from benchmarks.row import Row
from harness.record import CellRecord, Status
from harness.results.ledger import read_record
from harness.suite.cell import Cell
from harness.suite.load import load
from harness.suite.packs import packs
from harness.worker import Conditions, run_pack

SUITE, SLOTS, ROUNDS = "quickstart", 2, 3
"""Packs are those of a machine where two run at a time."""

ALL, WORST = "probes of all cells", "probes of the worst cell"


def rows(most_rounds: int | None = None) -> list[Row]:
    loaded = load(SUITE)
    work = packs(loaded.cells, loaded.resources.pack, SLOTS)
    threads = torch.get_num_threads()
    count = min(ROUNDS, most_rounds or ROUNDS)
    taken = []
    try:
        measured(work[:1])  # warm
        for number in range(count):
            taken.append(measured(work))
            say(f"probes: round {number + 1} of {count}")
    finally:
        torch.set_num_threads(threads)
    return compared(taken)


def measured(work: Sequence[Sequence[Cell]]) -> list[CellRecord]:
    """The cells of packs, run by the worker.

    Raises:
        AssertionError: A cell left no result.
    """
    found = []
    with tempfile.TemporaryDirectory() as store:
        for pack in work:
            named = [(cell.id, cell.specification()) for cell in pack]
            for outcome in run_pack(named, SUITE, store, Conditions(), 1):
                if outcome.status not in (Status.OK, Status.DIVERGED):
                    raise AssertionError(f"{outcome.cell_id}: {outcome.message}")
                found.append(read_record(Path(store), SUITE, outcome.cell_id))
    return found


def compared(rounds: Sequence[Sequence[CellRecord]]) -> list[Row]:
    """All cells, the worst one, and each architecture on each dataset, in every round.

    The worst is the cell of the least median: of 96 there is always one that the machine held up.
    """
    cells = _ratios(rounds, lambda record: (record.dataset_label, record.cell_id))
    worst = min(cells.values(), key=statistics.median)
    kinds = _ratios(rounds, lambda record: (record.dataset_label, record.architecture_label))
    return [
        *(_row(ALL, "", values) for values in _ratios(rounds, lambda _: ("", "")).values()),
        _row(WORST, "", worst),
        *(_row(contender, dataset, values) for (dataset, contender), values in kinds.items()),
    ]


def _ratios(
    rounds: Sequence[Sequence[CellRecord]], by: Callable[[CellRecord], tuple[str, str]]
) -> dict[tuple[str, str], list[float]]:
    """Seconds of training by seconds of probes, of what is alike, in each round."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for records in rounds:
        for key in sorted({by(record) for record in records}):
            alike = [record for record in records if by(record) == key]
            training = sum(record.train_seconds for record in alike)
            found[key].append(training / sum(record.probe_seconds for record in alike))
    return found


def _row(contender: str, dataset: str, values: Sequence[float]) -> Row:
    return Row(
        group="probes",
        subject="training",
        contender=contender,
        setting=f"{SUITE}, {dataset}" if dataset else SUITE,
        members=1,
        unit="×",
        values=tuple(values),
        target=1.0,
    )
