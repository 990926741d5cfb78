"""What probes take beside the training that they follow: the cells of the quickstart.

As a sweep's worker runs them, pack by pack, on one thread; both times are what it stores of each
cell. Above 1 all probes of a cell take less than its training.
"""

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
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
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    try:
        measured(work[:1])  # warm
        for number in range(count):
            for who, ratio in compared(measured(work)).items():
                ratios[who].append(ratio)
            say(f"probes: round {number + 1} of {count}")
    finally:
        torch.set_num_threads(threads)
    return [_row(*who, values) for who, values in ratios.items()]


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


def compared(records: Sequence[CellRecord]) -> Mapping[tuple[str, str], float]:
    """Seconds of training by seconds of probes, by whose probes they are and on what."""
    groups: dict[tuple[str, str], list[CellRecord]] = defaultdict(list)
    for record in records:
        groups[record.architecture_label, record.dataset_label].append(record)
    found = {(ALL, ""): _ratio(records), (WORST, ""): min(_ratio([one]) for one in records)}
    return found | {who: _ratio(group) for who, group in sorted(groups.items(), key=_by_dataset)}


def _by_dataset(group: tuple[tuple[str, str], object]) -> tuple[str, str]:
    architecture, dataset = group[0]
    return dataset, architecture


def _ratio(records: Sequence[CellRecord]) -> float:
    training = sum(record.train_seconds for record in records)
    return training / sum(record.probe_seconds for record in records)


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
