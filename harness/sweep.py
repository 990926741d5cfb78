"""Run a suite: plan, schedule what is missing, show progress, count what failed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from harness.cluster.executor import Executor, InlineExecutor
from harness.cluster.ray_executor import RayExecutor
from harness.cluster.schedule import Finished, schedule
from harness.interrupt import remembered_interrupt
from harness.planning import Room, compilation
from harness.progress import SweepProgress, duration
from harness.record import Status
from harness.results import layout
from harness.results.ledger import (
    is_committed,
    last_attempts,
    specifications,
    sweep_leftovers,
)
from harness.results.writer import require_writable
from harness.suite.load import LoadedSuite
from harness.suite.plan import Done, Plan, plan
from harness.worker import Conditions, Outcome, failed, run_pack

LEFTOVER_SECONDS = 3600.0
"""No writer takes an hour over one file: what is older was left by one that died."""

MakeExecutor = Callable[[LoadedSuite], Executor]


@dataclass(frozen=True)
class Tally:
    """How a sweep ended.

    Attributes:
        ran: Cells that left a result in this run, diverged ones among them.
        cached: Cells that had one before.
        diverged: Cells of this run that diverged.
        failed: Cells without a result.
        seconds: Wall time, the executor's start included.
    """

    ran: int
    cached: int
    diverged: int
    failed: int
    seconds: float


def inline(loaded: LoadedSuite) -> InlineExecutor:
    """The executor within this process."""
    return InlineExecutor(run_pack, _device_here(loaded))


def _device_here(loaded: LoadedSuite) -> str:
    return "cuda" if loaded.resources.gpus and torch.cuda.is_available() else "cpu"


def on_ray(address: str | None, workers: int | None) -> MakeExecutor:
    """Ray, its own on this machine or the one at ``address``."""

    def make(loaded: LoadedSuite) -> RayExecutor:
        resources = loaded.resources
        return RayExecutor(run_pack, address, workers, resources.cpus, resources.gpus)

    return make


def share_of_memory(device: str, beside: int, gpus: float) -> float:
    """The part of a device's memory that is one pack's, in (0, 1].

    Args:
        device: ``cuda``, of which a pack has the fraction that its suite says, or ``cpu``.
        beside: How many packs run at a time on one machine.
        gpus: Graphics cards of a pack; it trains on one, however many it has.
    """
    return min(1.0, gpus) if device == "cuda" else 1 / beside


def room_here(loaded: LoadedSuite, slots: int) -> Room:
    """What memory a pack has where ``slots`` of them run at a time on this machine."""
    device = _device_here(loaded)
    return Room(torch.device(device), share_of_memory(device, slots, loaded.resources.gpus))


def plan_suite(loaded: LoadedSuite, store: Path) -> Plan:
    """What a run of the suite would do now.

    Raises:
        InputError: The store cannot be read.
    """
    name = loaded.suite.name
    done = {
        key: Done(specification, seconds, status)
        for key, (specification, seconds, status) in specifications(store, name).items()
    }
    attempts = last_attempts(store, name)
    failures = {key: attempt.status for key, attempt in attempts.items()}
    planned = plan(loaded.cells, done, failures, loaded.resources.pack)
    return replace(planned, compile=loaded.resources.compile)


def run_suite(
    loaded: LoadedSuite, store: Path, make_executor: MakeExecutor, console: Console
) -> Tally:
    """Run the cells that have no result yet; a result is in the store the moment a cell ends.

    Raises:
        InputError: The store or the cluster cannot be used.
        KeyboardInterrupt: Ctrl-C; what has ended is kept.
    """
    begun = time.monotonic()
    name, store = loaded.suite.name, layout.checked_store(store).absolute()
    require_writable(store, name)
    sweep_leftovers(store, name, older_than_seconds=LEFTOVER_SECONDS)
    planned = plan_suite(loaded, store)
    missing = planned.to_run
    cached = len(loaded.cells) - len(missing)
    console.print(
        f"suite {name}: {len(loaded.cells)} cells, {cached} done before, {len(missing)} to run",
        highlight=False,
    )
    if not missing:
        return Tally(0, cached, 0, 0, time.monotonic() - begun)
    threads = max(1, int(loaded.resources.cpus))
    with remembered_interrupt() as interrupt, make_executor(loaded) as executor:
        interrupt.deliver()
        where = f"{executor.slots} at a time on {executor.device}, {threads} thread(s) each"
        console.print(f"started in {duration(time.monotonic() - begun)}: {where}", highlight=False)
        packs = planned.packs(executor.slots)
        console.print(f"{len(missing)} cells in {len(packs)} packs", highlight=False)
        if loaded.resources.compile:
            console.print(compilation(planned), highlight=False)
        named = [[(cell.id, cell.specification()) for cell in pack] for pack in packs]
        share = share_of_memory(executor.device, executor.beside, loaded.resources.gpus)
        conditions = Conditions(
            executor.device, threads, share, loaded.resources.compile, loaded.folders
        )
        work = [(pack, name, str(store), conditions) for pack in named]
        ids = [[cell_id for cell_id, _ in pack] for pack in named]
        ran = diverged = lost = 0
        halved = ""
        with SweepProgress(console, len(missing)) as progress:
            for finished in schedule(work, executor):
                interrupt.check()
                for outcome in _outcomes(finished, ids[finished.number], store, name):
                    ok = outcome.status in (Status.OK, Status.DIVERGED)
                    ran, lost = ran + ok, lost + (not ok)
                    diverged += outcome.status == Status.DIVERGED
                    if outcome.halved and not halved:
                        progress.say(f"a pack was halved and goes on: {outcome.halved}")
                    halved = halved or outcome.halved
                    if outcome.traceback and lost == 1:
                        progress.say(f"the first failure, {outcome.cell_id}:\n{outcome.traceback}")
                    progress.update(ok=ok, running=finished.running, last=_last(outcome))
    return Tally(ran, cached, diverged, lost, time.monotonic() - begun)


def _last(outcome: Outcome) -> str:
    text = f"{outcome.cell_id} {outcome.status} in {outcome.seconds:.1f} s"
    return f"{text}: {outcome.message}" if outcome.message else text


def _outcomes(finished: Finished, ids: list[str], store: Path, suite: str) -> list[Outcome]:
    """What the worker said, held against the store; where it died, an attempt in its stead.

    Nothing where the pack will be tried again: its cells have not ended.
    """
    if not finished.lost:
        return [_seen(outcome, store, suite) for outcome in finished.result]
    status = Status.PREEMPTED if finished.blameless else Status.ERROR
    if finished.lost.startswith("OutOfMemoryError"):  # Ray kills workers before the kernel does
        status = Status.OUT_OF_MEMORY
    message = f"the worker died in try {finished.attempt}: {finished.lost}"
    outcomes = []
    for cell_id in ids:
        if is_committed(store, suite, cell_id):
            outcomes.append(Outcome(cell_id, Status.OK, 0.0))
            continue
        failed(store, suite, cell_id, finished.attempt, status, message, "")
        outcomes.append(Outcome(cell_id, status, 0.0, message))
    return [] if finished.again else outcomes


def _seen(outcome: Outcome, store: Path, suite: str) -> Outcome:
    """A result that this machine's store does not have is none."""
    done = outcome.status in (Status.OK, Status.DIVERGED)
    if not done or is_committed(store, suite, outcome.cell_id):
        return outcome
    message = f"the worker wrote its result, but {store} here does not have it: is it shared?"
    return Outcome(outcome.cell_id, Status.ERROR, outcome.seconds, message)
