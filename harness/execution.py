"""The cells of a pack, from their specifications to their records: build, train, probe."""

import time
from collections.abc import Iterator, Sequence

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.datasets.base import Dataset, Splits
from harness.datasets.off_distribution import off_distribution
from harness.probes.base import Inputs
from harness.provenance import provenance
from harness.record import CellRecord, Measurement
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.training.batches import Batches
from harness.training.loop import Member, train

PROBED_INPUTS = 1024
"""How many test inputs, and how many of each off-distribution set, the probes may choose from."""


def probe_inputs(dataset: Dataset, splits: Splits, step: int, device: torch.device) -> Inputs:
    """Test and off-distribution inputs: the same for every cell of a dataset, whatever its seed."""
    source = generator(0, "probe inputs")
    test = dataset.prepare(splits.test, source)
    sets = {"test": test[:PROBED_INPUTS]}
    sets |= off_distribution(dataset, test, PROBED_INPUTS, source)
    radius = float(dataset.prepare(splits.train, source).abs().max())
    return Inputs({name: x.to(device) for name, x in sets.items()}, radius, step)


def run_cells(cells: Sequence[Cell], device: torch.device) -> Iterator[CellRecord]:
    """Train the networks of a pack at once and measure each; a record as each is measured.

    A cell that diverges is measured as it is when its training ends. The time of training is
    shared out evenly.

    Args:
        cells: Cells that differ in what :func:`harness.suite.packs.program` leaves out.
        device: Where.

    Raises:
        Exception: Whatever an entry raises; the caller makes an attempt of it.
    """
    begun = time.perf_counter()
    first = cells[0]
    dataset: Dataset = registry.build("dataset", first.dataset)
    splits = dataset.read()
    task = registry.build("task", first.task)
    members = [_member(cell, dataset, device) for cell in cells]
    seeds = [cell.seed for cell in cells]
    batches = Batches(dataset, splits.train.to(device), first.training.batch_size, seeds)
    ends = train(members, task, batches)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    train_seconds = (time.perf_counter() - begun) / len(cells)
    origin = provenance(device, splits.digest(), len(cells))
    for cell, member, trained in zip(cells, members, ends, strict=True):
        probing = time.perf_counter()
        inputs = probe_inputs(dataset, splits, trained.steps, device)
        # Probes state their own precisions; the weights they start from are float32's or float64's.
        flow = member.flow.eval()
        test = inputs.sets["test"].to(getattr(torch, cell.training.precision))
        measurements: list[Measurement] = list(task.evaluate(flow, test, dataset, trained.steps))
        for choice in cell.probes:
            probe = registry.build("probe", choice)
            measurements += probe(flow, inputs, generator(cell.seed, f"probe {choice.name}"))
        yield CellRecord(
            cell_id=cell.id,
            status=trained.status,
            specification=cell.specification(),
            task=cell.task.name,
            architecture=cell.architecture.name,
            architecture_label=registry.label("architecture", cell.architecture),
            regularizer=cell.regularizer.name,
            regularizer_label=registry.label("regularizer", cell.regularizer),
            dataset=cell.dataset.name,
            dataset_label=registry.label("dataset", cell.dataset),
            seed=cell.seed,
            steps=trained.steps,
            train_seconds=train_seconds,
            probe_seconds=time.perf_counter() - probing,
            finished_ms=time.time_ns() // 1_000_000,
            provenance=origin,
            measurements=tuple(measurements),
            curve=trained.curve,
        )


def _member(cell: Cell, dataset: Dataset, device: torch.device) -> Member:
    initialisation = generator(cell.seed, "initialisation")
    flow: Bijection = registry.build(
        "architecture", cell.architecture, dataset.shape, initialisation
    )
    regularizer = registry.build("regularizer", cell.regularizer)
    return Member(flow.to(device), cell.training, regularizer, cell.seed)
