"""One cell, from its specification to its record: build, train, evaluate, probe."""

import time

import torch

from harness import registry
from harness.datasets.base import Dataset, Splits
from harness.datasets.off_distribution import off_distribution
from harness.probes.base import Inputs
from harness.provenance import provenance
from harness.record import CellRecord, Measurement
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.training.loop import Batches, train

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


def run_cell(cell: Cell, device: torch.device) -> CellRecord:
    """Train the cell's network and measure it.

    A cell that diverges is measured as it is when training ends.

    Raises:
        Exception: Whatever an entry raises; the caller makes an attempt of it.
    """
    begun = time.perf_counter()
    dataset: Dataset = registry.build("dataset", cell.dataset)
    splits = dataset.read()
    task = registry.build("task", cell.task)
    regularizer = registry.build("regularizer", cell.regularizer)
    initialisation = generator(cell.seed, "initialisation")
    flow = registry.build("architecture", cell.architecture, dataset.shape, initialisation)
    flow.to(device)
    batches = Batches(dataset, splits.train.to(device), cell.training.batch_size, cell.seed)
    trained = train(flow, task, regularizer, batches, cell.training, cell.seed)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    probing = time.perf_counter()

    # Probes state their own precisions; the weights they start from are float32's or float64's.
    inputs = probe_inputs(dataset, splits, trained.steps, device)
    dtype = getattr(torch, cell.training.precision)
    flow.eval()
    test = inputs.sets["test"].to(dtype)
    measurements: list[Measurement] = list(task.evaluate(flow, test, dataset, trained.steps))
    for choice in cell.probes:
        probe = registry.build("probe", choice)
        measurements += probe(flow, inputs, generator(cell.seed, f"probe {choice.name}"))
    ended = time.perf_counter()
    return CellRecord(
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
        train_seconds=probing - begun,
        probe_seconds=ended - probing,
        finished_ms=time.time_ns() // 1_000_000,
        provenance=provenance(device, splits.digest()),
        measurements=tuple(measurements),
        curve=trained.curve,
    )
