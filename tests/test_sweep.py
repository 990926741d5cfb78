"""What a sweep hands to its executor, and what it makes of a worker's death."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.cluster.executor import Ended, InlineExecutor
from harness.cluster.schedule import ATTEMPTS
from harness.record import Status
from harness.results import ledger
from harness.suite.load import LoadedSuite, load
from harness.sweep import run_suite
from harness.worker import Conditions


class Deadly(InlineExecutor):
    """Every process that it starts dies."""

    slots = 6
    beside = 3

    def __init__(self, lost: str) -> None:
        super().__init__(print)
        self._lost = lost
        self.given: list[tuple[Any, ...]] = []

    def wait(self) -> Ended:
        ticket, arguments = self._queue.popleft()
        self.given.append(arguments)
        return Ended(ticket, lost=self._lost)


@pytest.mark.parametrize(
    ("lost", "status"),
    [
        ("OutOfMemoryError: Task was killed due to the node running low on memory.", "memory"),
        ("WorkerCrashedError: The worker died unexpectedly while executing this task.", "error"),
    ],
)
def test_a_worker_that_ray_kills_for_memory_leaves_cells_out_of_memory(
    tmp_path: Path, tiny: Path, lost: str, status: str
) -> None:
    executor = Deadly(lost)

    def make(_: LoadedSuite) -> Deadly:
        return executor

    loaded = load(tiny)
    tally = run_suite(loaded, tmp_path / "results", make, Console(file=io.StringIO()))
    assert (tally.failed, tally.ran) == (len(loaded.cells), 0)
    attempts = ledger.last_attempts(tmp_path / "results", "tiny")
    expected = Status.OUT_OF_MEMORY if status == "memory" else Status.ERROR
    assert {one.status for one in attempts.values()} == {expected}
    # On what, with which share of the machine's memory, and which try it is.
    tries = [arguments[3:] for arguments in executor.given]
    packs = len(tries) // ATTEMPTS
    conditions = Conditions(share=1 / 3)
    assert tries == [(conditions, n) for n in range(1, ATTEMPTS + 1) for _ in range(packs)]
