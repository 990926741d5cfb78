"""What runs on a worker: the cells of one pack, each committed by itself."""

import math
import platform
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from harness.execution import Measured, TrainedCell, measure, train_cells
from harness.memory.freed import keep_freed_memory, release_freed_memory
from harness.memory.out_of_memory import is_out_of_memory
from harness.memory.pack_size import size_to_train
from harness.record import Attempt, Status
from harness.registry import search_in
from harness.results.ledger import is_committed
from harness.results.writer import commit, record_attempt
from harness.suite.cell import Cell
from harness.suite.packs import parts


@dataclass(frozen=True)
class Outcome:
    """How one cell of a pack ended, as the driver shows it.

    Attributes:
        cell_id: Which cell.
        status: Its status; the results and attempts themselves are in the store.
        seconds: Wall time, in seconds.
        message: One sentence, where it failed.
        traceback: Where in the code, if it raised.
        halved: Why it was not trained with all of its pack, in one sentence.
    """

    cell_id: str
    status: Status
    seconds: float
    message: str = ""
    traceback: str = ""
    halved: str = ""


@dataclass(frozen=True)
class Conditions:
    """What a pack runs on: no part of a cell's identity, for it moves a number's last bits at most.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: Threads of the process.
        share: The part of the device's memory that is this pack's, in (0, 1].
        compiled: Whether the training steps of long runs are compiled.
        folders: Where what a suite imports is looked for, besides python's own path.
    """

    device: str = "cpu"
    threads: int = 1
    share: float = 1.0
    compiled: bool = False
    folders: tuple[str, ...] = ()


def run_pack(
    cells: Sequence[tuple[str, str]], suite: str, store: str, conditions: Conditions, attempt: int
) -> list[Outcome]:
    """Run the cells of a pack, commit each, and record what failed.

    A cell that is in the store already, from a try that died after its commit, is not run again.
    The cells are trained at once as far as the device's memory has room for them, else in parts,
    one after the other. Each further try halves the parts: a process that ran out of the
    machine's memory is killed without a word.

    Args:
        cells: Id and specification (canonical JSON) of each cell.
        suite: Name of the suite, the store's folder.
        store: Path of the store.
        conditions: What it runs on.
        attempt: Which try this is, counted from 1.
    """
    torch.set_num_threads(conditions.threads)
    search_in(*conditions.folders)
    keep_freed_memory()
    # float32 means float32: TF32 keeps 10 of 23 bits, and convolutions use it by default.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    folder = Path(store)
    done = [cell_id for cell_id, _ in cells if is_committed(folder, suite, cell_id)]
    missing = [cell for cell in cells if cell[0] not in done]
    outcomes = [Outcome(cell_id, Status.OK, 0.0) for cell_id in done]
    halved = f"the worker died in try {attempt - 1}" if attempt > 1 else ""
    for part in parts(missing, _most(missing, conditions, attempt)):
        outcomes += _run(part, suite, folder, conditions, attempt, halved)
    return outcomes


def _most(cells: Sequence[tuple[str, str]], conditions: Conditions, attempt: int) -> int:
    """How many of these cells are trained at once."""
    wanted = math.ceil(len(cells) / (1 << (attempt - 1)))
    try:
        cell = Cell.from_specification(cells[0][1])
        return size_to_train(cell, wanted, torch.device(conditions.device), conditions.share)
    except Exception:  # no cell, or whatever will show, and be recorded, when it is run
        return max(1, wanted)


def _run(
    cells: Sequence[tuple[str, str]],
    suite: str,
    store: Path,
    conditions: Conditions,
    attempt: int,
    halved: str = "",
) -> list[Outcome]:
    """Run cells as one pack; where that fails, in halves, until the cell to blame is alone."""
    begun, device = time.perf_counter(), torch.device(conditions.device)
    try:
        named = [Cell.from_specification(text) for _, text in cells]
        pack = train_cells(named, device, compiled=conditions.compiled, halved=halved)
    except (Exception, SystemExit) as error:
        if len(cells) == 1:
            seconds = time.perf_counter() - begun
            return [_failure(error, cells[0][0], suite, store, attempt, seconds)]
        ran_out, halved = is_out_of_memory(error), halved or _sentence(error)
    else:
        outcomes = _finish(pack, suite, store, attempt)
        return [replace(outcome, halved=halved) for outcome in outcomes]
    finally:
        if device.type == "cuda":  # the process lives on, and so would its cache
            torch.cuda.empty_cache()
    # Outside of the handler, whose error holds the tensors of what failed.
    if ran_out:
        release_freed_memory()
    return [
        outcome
        for part in parts(cells, math.ceil(len(cells) / 2))
        for outcome in _run(part, suite, store, conditions, attempt, halved)
    ]


def _finish(
    pack: Sequence[TrainedCell], suite: str, store: Path, attempt: int
) -> Iterator[Outcome]:
    """Measure and commit; what fails here fails for its cell, and nothing is trained again."""
    left = {one.cell.id: one for one in pack}
    begun = time.perf_counter()
    try:
        for measured in measure(pack):
            yield _committed(measured, suite, store, attempt)
            del left[measured.trained.cell.id]
    except (Exception, SystemExit) as error:
        seconds = time.perf_counter() - begun
        for one in left.values():
            taken = one.seconds + one.visited.seconds + seconds
            yield _failure(error, one.cell.id, suite, store, attempt, taken)


def _committed(measured: Measured, suite: str, store: Path, attempt: int) -> Outcome:
    one, begun = measured.trained, time.perf_counter()
    try:
        record = measured.record.unwrap()
        commit(store, suite, record)
    except (Exception, SystemExit) as error:
        seconds = one.seconds + measured.seconds + time.perf_counter() - begun
        return _failure(error, one.cell.id, suite, store, attempt, seconds)
    return Outcome(record.cell_id, record.status, one.seconds + measured.seconds)


def _failure(
    error: BaseException, cell_id: str, suite: str, store: Path, attempt: int, seconds: float
) -> Outcome:
    status = Status.OUT_OF_MEMORY if is_out_of_memory(error) else Status.ERROR
    message = _sentence(error)
    trace = "".join(traceback.format_exception(error))
    failed(store, suite, cell_id, attempt, status, message, trace)
    return Outcome(cell_id, status, seconds, message, trace)


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]


def failed(
    store: Path, suite: str, cell_id: str, attempt: int, status: Status, message: str, trace: str
) -> None:
    """Record an attempt that left no result, with this host and the present time."""
    now = time.time_ns() // 1_000_000
    record_attempt(
        store, suite, Attempt(cell_id, attempt, status, message, trace, platform.node(), now)
    )
