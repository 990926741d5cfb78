"""What runs on a worker: the cells of one pack, each committed by itself."""

import platform
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.execution import run_cell
from harness.results.record import Attempt, CellRecord, Status
from harness.results.writer import commit, record_attempt
from harness.suite.cell import Cell


@dataclass(frozen=True)
class Outcome:
    """How one cell of a pack ended, as the driver shows it.

    Attributes:
        cell_id: Which cell.
        status: Its status; the results and attempts themselves are in the store.
        seconds: Wall time, in seconds.
        message: One sentence, where it failed.
        traceback: Where in the code, if it raised.
    """

    cell_id: str
    status: Status
    seconds: float
    message: str = ""
    traceback: str = ""


def run_pack(
    specifications: Sequence[str], suite: str, store: str, device: str, threads: int, attempt: int
) -> list[Outcome]:
    """Run the cells of a pack, commit each, and record what failed.

    Args:
        specifications: Canonical JSON of each cell.
        suite: Name of the suite, the store's folder.
        store: Path of the store.
        device: ``cpu`` or ``cuda``.
        threads: Threads of this process; numbers may differ in the last bit with another count.
        attempt: Which try this is, counted from 1.
    """
    torch.set_num_threads(threads)
    return [
        _run(Cell.from_specification(text), suite, Path(store), torch.device(device), attempt)
        for text in specifications
    ]


def _run(cell: Cell, suite: str, store: Path, device: torch.device, attempt: int) -> Outcome:
    begun = time.perf_counter()
    try:
        record: CellRecord = run_cell(cell, device)
        commit(store, suite, record)
    except Exception as error:
        memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
        status = Status.OUT_OF_MEMORY if memory else Status.ERROR
        message = f"{type(error).__name__}: {error}".split("\n")[0]
        trace = traceback.format_exc()
        failed(store, suite, cell.id, attempt, status, message, trace)
        return Outcome(cell.id, status, time.perf_counter() - begun, message, trace)
    return Outcome(cell.id, record.status, time.perf_counter() - begun)


def failed(
    store: Path, suite: str, cell_id: str, attempt: int, status: Status, message: str, trace: str
) -> None:
    """Record an attempt that left no result, with this host and the present time."""
    now = time.time_ns() // 1_000_000
    record_attempt(
        store, suite, Attempt(cell_id, attempt, status, message, trace, platform.node(), now)
    )
