"""What one more member of a pack takes, measured on small batches rather than computed."""

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.headed import with_head
from harness.datasets.base import Dataset
from harness.seeding import generator
from harness.suite.cell import Cell, canonical
from harness.tasks.base import Task
from harness.training.batches import Batches
from harness.training.loop import Member, train

SAFETY = 2.0
"""What a process takes beyond its tensors: resident memory grew by 0.7 to 1.9 times the tensors'
bytes a member (docs/decisions/pack-size.md), for freed blocks leave holes that no other fits."""

SMALL_BATCHES = 4, 8, 16
"""A step grows with its batch by a line, or by a parabola where samples meet in pairs: three
sizes give any other."""

STRAIGHT = 1e-3
"""Relative change of a slope that is a line's rounding and not a parabola."""

MEMBERS = 2
"""As few as are a pack: a network alone does not run as a pack does."""

ROWS = 64


def member_bytes(cell: Cell) -> int | None:
    """Bytes of host or device memory that one more member adds to the peak of a pack's training.

    One step of the cell's program is run on three small batches of made-up inputs while every
    tensor's storage is counted: the weights, their gradients and moments, what autograd keeps,
    what it makes on its way back. Each moment of the step is extended to the cell's batch size by
    a parabola, and the largest counts, times :data:`SAFETY`. The data itself is not read and
    not counted, for a pack has it once; nor are a compiled step and the probes, which
    ask one network at a time unless the inputs of all are few.

    Takes a tenth to half of a second, once for all cells that differ in no more than seed, probes
    and training settings other than the precision.

    Returns:
        ``None`` where an entry does not run that way: the size is then unknown.
    """
    content: dict[str, Any] = cell.model_dump(mode="json", exclude={"seed", "probes", "training"})
    weight = content["regularizer"]["parameters"].get("weight")
    if isinstance(weight, int | float):  # it decides nothing but whether there is a penalty
        content["regularizer"]["parameters"]["weight"] = float(weight > 0)
    growth = _growth(canonical(content), cell.training.precision)
    return None if growth is None else round(SAFETY * growth(cell.training.batch_size))


Growth = Callable[[int], float]
"""Bytes of a member's tensors at a batch size."""


@functools.lru_cache(maxsize=4096)
def _growth(content: str, precision: str) -> Growth | None:
    cell = Cell.model_validate_json(
        f'{{"probes":[],"seed":0,"training":{{"precision":"{precision}"}},{content[1:]}'
    )
    try:
        return _measured(cell)
    except (Exception, SystemExit):
        # An entry of anybody's: what is wrong with it shows when a worker trains it.
        return None


def _measured(cell: Cell) -> Growth:
    dataset: Dataset = registry.build("dataset", cell.dataset)
    flow: Bijection = registry.build(
        "architecture", cell.architecture, dataset.shape, generator(0, "member memory")
    )
    task: Task = registry.build("task", cell.task)
    flow = with_head(flow, task.head(dataset, generator(0, "member memory")))
    flow.to(getattr(torch, cell.training.precision))
    # A network's own tensors are there before.
    before = sum(map(_bytes, chain(flow.parameters(), flow.buffers())))
    live = [_live(cell, dataset, task, flow, size) for size in SMALL_BATCHES]
    if len({len(one) for one in live}) > 1:  # the step branches on data: moments do not correspond
        live = [[max(one)] for one in live]
    # Of the moments that grow alike, the one that begins highest.
    curves: dict[tuple[int, int], int] = {}
    for low, middle, high in zip(*live, strict=True):
        rises = middle - low, high - middle
        curves[rises] = max(low, curves.get(rises, 0))
    small, larger, largest = SMALL_BATCHES

    def growth(batch_size: int) -> float:
        def at(low: int, rise: int, further: int) -> float:
            slope, next_slope = rise / (larger - small), further / (largest - larger)
            bend = max(0.0, next_slope - slope) / (largest - small)
            if next_slope < (1 + STRAIGHT) * slope:
                bend = 0.0
            steps = batch_size - small
            return low + slope * steps + bend * steps * (batch_size - larger)

        return before + max(at(low, *rises) for rises, low in curves.items()) / MEMBERS

    return growth


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _live(cell: Cell, dataset: Dataset, task: Task, flow: Bijection, batch_size: int) -> list[int]:
    """Bytes that exist after each operation of a first step, beyond those from before."""
    # Whether a step is clipped depends on the data.
    changed = {"steps": 1, "batch_size": batch_size, "gradient_clip": None}
    settings = cell.training.model_copy(update=changed)
    regularizer = registry.build("regularizer", cell.regularizer)
    # One network in every place: what it computes does not matter.
    members = [Member(flow, settings, regularizer, seed) for seed in range(MEMBERS)]
    targets = _made_up_targets(dataset) if task.supervised else None
    batches = Batches(dataset, _made_up(dataset), batch_size, range(MEMBERS), targets)
    data = [one for one in (batches.raw, targets) if one is not None]
    known = [*flow.parameters(), *flow.buffers(), *data]
    storages = Storages(known)
    with torch.enable_grad(), _one_thread(), storages:
        train(members, task, batches)
    return storages.live


@contextmanager
def _one_thread() -> Iterator[None]:
    """On a busy machine threads wait for each other: small steps then take three times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _made_up(dataset: Dataset) -> Tensor:
    shape, source = (ROWS, *dataset.shape), generator(0, "made-up inputs")
    if dataset.levels is not None:
        return torch.randint(dataset.levels, shape, generator=source, dtype=torch.uint8)
    return dataset.low + (dataset.high - dataset.low) * torch.rand(shape, generator=source)


def _made_up_targets(dataset: Dataset) -> Tensor:
    if dataset.classes is not None:
        return torch.arange(ROWS) % dataset.classes
    return torch.zeros(ROWS, dataset.target_dimensions or 0)


class Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operations make, and their end.

    Args:
        known: Tensors of before; a view of one is nothing new.

    Attributes:
        live: Bytes that exist after each operation.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: list[int] = []
        self._now = 0
        # Held, so that no other storage gets an identity of theirs.
        self._known = {x.untyped_storage()._cdata: x.untyped_storage() for x in known}
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: skipping imports PyTorch's compiler, two seconds of every worker's start."""
        return False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, which may make storages."""
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self._count(made.untyped_storage())
        elif made is not None:
            for one in tree_leaves(made):
                if isinstance(one, Tensor):
                    self._count(one.untyped_storage())
        self.live.append(self._now)
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or key in self._known:
            return

        def end(_: object) -> None:
            del self._alive[key]
            self._now -= size

        self._alive[key] = weakref.ref(storage, end)
        self._now += size
