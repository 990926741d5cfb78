"""The cells of a pack: build and train their networks at once, then measure them side by side."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.given import in_precision
from harness.bijections.headed import outputs, with_head
from harness.datasets.base import Dataset, Splits
from harness.datasets.off_distribution import off_distribution
from harness.measuring.lockstep import Ended, Result, in_lockstep, result
from harness.measuring.networks import Networks
from harness.probes.subject import Inputs, Subject
from harness.probing import Visited, Visits, measurements
from harness.provenance import provenance
from harness.record import CellRecord, LayerMeasurement, Measurement, Status
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.suite.packs import alone
from harness.tasks.base import Task
from harness.training.batches import Batches
from harness.training.compilation import Compiler
from harness.training.loop import Member, Trained, train

PROBED_INPUTS = 1024
"""How many test inputs, and how many of each off-distribution set, the probes may choose from."""


def probe_inputs(
    dataset: Dataset, splits: Splits, device: torch.device, *, supervised: bool = False
) -> Inputs:
    """Test and off-distribution inputs: the same for every cell of a dataset, whatever its seed."""
    source = generator(0, "probe inputs")
    test = dataset.prepare(splits.test, source)
    sets = {"test": test[:PROBED_INPUTS]}
    sets |= off_distribution(dataset, test, PROBED_INPUTS, source)
    lowest, highest = dataset.prepare(splits.train, source).aminmax(dim=0)
    placed = {name: x.to(device) for name, x in sets.items()}
    targets = splits.test_targets if supervised else None
    if targets is not None:
        targets = targets[:PROBED_INPUTS].to(device)
    return Inputs(placed, lowest.to(device), highest.to(device), 0, targets)


@dataclass(frozen=True)
class TrainedCell:
    """A cell whose network is trained and not yet measured.

    Attributes:
        cell: The cell.
        flow: Its network, with its head where the task has one.
        trained: How its training ended.
        task: What it was trained for.
        dataset: On what.
        inputs: What it is probed on.
        seconds: Its share of the wall time of the pack's training, without that of its probes.
        provenance: JSON of where its numbers come from.
        visited: What its probes said while it was trained.
    """

    cell: Cell
    flow: Bijection
    trained: Trained
    task: Task
    dataset: Dataset
    inputs: Inputs
    seconds: float
    provenance: str
    visited: Visited = field(default_factory=Visited)


@dataclass(frozen=True)
class Measured:
    """A trained cell that has been measured.

    Attributes:
        trained: The cell.
        record: What is stored of it, or why there is nothing.
        seconds: Wall time of its task's and probes' measurements, in seconds, those during
            training among them.
    """

    trained: TrainedCell
    record: Result[CellRecord]
    seconds: float


def train_cells(
    cells: Sequence[Cell], device: torch.device, *, compiled: bool = False, halved: str = ""
) -> list[TrainedCell]:
    """Build and train the networks of a pack, as one program.

    Args:
        cells: Cells of one :func:`harness.suite.packs.program`.
        device: Where.
        compiled: Whether to compile the steps, if there are enough of them and none branches on
            data.
        halved: Why they are not all of their pack, for provenance.

    Raises:
        Exception: Whatever an entry raises; the caller makes an attempt of it.
    """
    begun = time.perf_counter()
    first = cells[0]
    dataset: Dataset = registry.build("dataset", first.dataset)
    splits = dataset.read()
    task: Task = registry.build("task", first.task)
    members = [_member(cell, dataset, task, device) for cell in cells]
    seeds = [cell.seed for cell in cells]
    targets = splits.train_targets if task.supervised else None
    if targets is not None:
        targets = targets.to(device)
    batches = Batches(dataset, splits.train.to(device), first.training.batch_size, seeds, targets)
    compiler = Compiler(first.training.steps, alone(first)) if compiled else None
    paused = time.perf_counter()
    inputs = probe_inputs(dataset, splits, device, supervised=task.supervised)
    visits = Visits(cells, [member.flow for member in members], inputs, task.probed_loss)
    begun += time.perf_counter() - paused
    if _can_train(first, members[0].flow, splits):
        ends = train(members, task, batches, compiler, visits)
    else:
        ends = [Trained(Status.OK, 0, ()) for _ in members]
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = (time.perf_counter() - begun - visits.seconds) / len(cells)
    digest = splits.digest(targets=task.supervised)
    origin = provenance(device, digest, len(cells), halved, compiler)
    return [
        TrainedCell(
            cell,
            member.flow.eval(),
            trained,
            task,
            dataset,
            replace(inputs, step=trained.steps),
            seconds,
            origin,
            visited,
        )
        for cell, member, trained, visited in zip(cells, members, ends, visits.visited, strict=True)
    ]


def _can_train(cell: Cell, flow: Bijection, splits: Splits) -> bool:
    """Whether a network has weights, and a gradient leads to them; ours always have.

    One of somebody else's that has not is measured as it is.
    """
    if not registry.is_imported(cell.architecture):
        return True
    weights = [parameter for parameter in flow.parameters() if parameter.requires_grad]
    if not weights:
        return False
    return any(one.requires_grad for one in outputs(flow, splits.train[:2].to(weights[0])))


def _member(cell: Cell, dataset: Dataset, task: Task, device: torch.device) -> Member:
    initialisation = generator(cell.seed, "initialisation")
    flow: Bijection = registry.build(
        "architecture", cell.architecture, dataset.shape, initialisation
    )
    model = with_head(flow, task.head(dataset, generator(cell.seed, "head")))
    regularizer = registry.build("regularizer", cell.regularizer)
    return Member(model.to(device), cell.training, regularizer, cell.seed)


def measure(pack: Sequence[TrainedCell]) -> Iterator[Measured]:
    """Score and probe the trained cells of a pack; one that diverged is measured as it is.

    The probes of all cells run side by side, and what they ask of their networks at once, the
    networks answer as one where that pays. A cell whose task or probe raises has the error as its
    result, and touches no other.

    Yields:
        Each cell, as it ends.
    """
    networks = Networks([one.flow for one in pack])
    coroutines = [_measurements(one) for one in pack]
    for ended in in_lockstep(coroutines, networks.answer, networks.pays):
        networks.forget(ended.number)
        one = pack[ended.number]
        yield Measured(one, result(_record, one, ended), ended.seconds + one.visited.seconds)


async def _measurements(one: TrainedCell) -> list[Measurement]:
    cell, visited = one.cell, one.visited
    if visited.error is not None:
        raise visited.error
    # Probes state their own precisions; the weights they start from are float32's or float64's.
    dtype = getattr(torch, cell.training.precision)
    test, *targets = in_precision(dtype, one.inputs.for_loss()["test"])
    steps = one.trained.steps
    scores = one.task.evaluate(one.flow, test, one.dataset, steps, *targets)
    scores += [
        Measurement.of(
            "training", metric, "none", cell.training.precision, found.number, found.of, steps
        )
        for metric, found in one.trained.counts.items()
    ]
    subject = Subject(one.inputs, one.task.probed_loss)
    # One that diverged at the step of a visit was seen then as it is now.
    before = [found for found in visited.measurements if found.step < one.trained.steps]
    probed = await measurements(cell.probes, subject, cell.seed)
    return [*before, *scores, *probed]


def _record(one: TrainedCell, ended: Ended[list[Measurement]]) -> CellRecord:
    cell, measured = one.cell, ended.result.unwrap()
    return CellRecord(
        cell_id=cell.id,
        status=one.trained.status,
        specification=cell.specification(),
        task=cell.task.name,
        architecture=cell.architecture.name,
        architecture_label=registry.label("architecture", cell.architecture),
        regularizer=cell.regularizer.name,
        regularizer_label=registry.label("regularizer", cell.regularizer),
        dataset=cell.dataset.name,
        dataset_label=registry.label("dataset", cell.dataset),
        seed=cell.seed,
        steps=one.trained.steps,
        train_seconds=one.seconds,
        probe_seconds=ended.seconds + one.visited.seconds,
        finished_ms=time.time_ns() // 1_000_000,
        provenance=one.provenance,
        measurements=tuple(m for m in measured if not isinstance(m, LayerMeasurement)),
        layers=tuple(m for m in measured if isinstance(m, LayerMeasurement)),
        curve=one.trained.curve,
    )
