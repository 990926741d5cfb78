"""Every registered task, on networks with and without a head."""

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.headed import flow_of, with_head
from harness.datasets.base import Dataset
from harness.execution import measure, train_cells
from harness.memory.member import member_bytes
from harness.record import Status
from harness.registry import Combination
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.suite.model import Training
from harness.tasks.base import Task
from harness.training.batches import Batches
from harness.training.loop import Member, train
from harness.training.stack import Stack
from tests.cells import run_alone
from tests.suite.suite_text import mistakes

NETWORKS: dict[str, dict[str, object]] = {
    "affine": {"couplings": 2, "width": 8},
    "glow": {"steps": 1, "width": 4, "levels": 1},
    "residual": {"blocks": 1, "width": 8},
}
"""Of vectors, which run as one with gradients by hand; of images, vectorised; and iterative."""
BATCH, SEEDS = 16, (0, 1, 2)


def make_cell(task: str, architecture: str, regularizer: str, dataset: str) -> Cell:
    named = {"name": architecture, **NETWORKS[architecture]}
    return Cell(
        task=registry.resolve("task", task),
        architecture=registry.resolve("architecture", named),
        regularizer=registry.resolve("regularizer", regularizer),
        dataset=registry.resolve("dataset", dataset),
        probes=(),
        training=Training(steps=10, batch_size=BATCH, precision="float64", learning_rate=1e-2),
        seed=0,
    )


def refused(cell: Cell) -> str | None:
    shape = registry.build("dataset", cell.dataset).shape
    combination = Combination(cell.task, cell.architecture, cell.regularizer, cell.dataset, shape)
    said = (
        found.refuses(combination)
        for axis, choice in (
            ("task", cell.task),
            ("architecture", cell.architecture),
            ("regularizer", cell.regularizer),
        )
        if (found := registry.get(axis, choice.name)).refuses
    )
    return next(filter(None, said), None)


def cells() -> dict[str, Cell]:
    """Each task with a vector and an image network, plain and with penalties; of datasets one."""
    found: dict[str, Cell] = {}
    datasets = ("toy_regression", "digits")
    regularizers = ("none", "normalizing_flow", "finite_difference")
    axes = (registry.names("task"), ("affine", "glow"), regularizers, datasets)
    for names in product(*axes):
        cell = make_cell(*names)
        if refused(cell) is None:
            found["-".join(names)] = cell
    return found


CELLS = cells()


def built(cell: Cell, seed: int) -> tuple[Bijection, Task, Dataset]:
    dataset: Dataset = registry.build("dataset", cell.dataset)
    task: Task = registry.build("task", cell.task)
    flow = registry.build("architecture", cell.architecture, dataset.shape, generator(seed, "i"))
    return with_head(flow, task.head(dataset, generator(seed, "h"))).double(), task, dataset


def batch_of(dataset: Dataset, task: Task, count: int = BATCH) -> list[Tensor]:
    splits = dataset.read()
    x = dataset.prepare(splits.test[:count], generator(0, "x")).double()
    if not task.supervised or splits.test_targets is None:
        return [x]
    y = splits.test_targets[:count]
    return [x, y.double() if y.is_floating_point() else y]


def members(cell: Cell) -> tuple[list[Member], Task, Dataset]:
    regularizer = registry.build("regularizer", cell.regularizer)
    models = [built(cell, seed) for seed in SEEDS]
    _, task, dataset = models[0]
    pack = [
        Member(model, cell.training, regularizer, seed)
        for seed, (model, _, _) in zip(SEEDS, models, strict=True)
    ]
    return pack, task, dataset


def run(pack: list[Member], task: Task, dataset: Dataset) -> list[list[float]]:
    splits = dataset.read()
    targets = splits.train_targets if task.supervised else None
    seeds = [member.seed for member in pack]
    ended = train(pack, task, Batches(dataset, splits.train, BATCH, seeds, targets))
    assert all(one.status is Status.OK for one in ended)
    return [[point.value for point in one.curve] for one in ended]


def state(member: Member) -> Tensor:
    return torch.cat([one.detach().flatten() for one in member.flow.state_dict().values()])


def test_each_task_is_covered() -> None:
    assert {cell.task.name for cell in CELLS.values()} == set(registry.names("task"))


@pytest.mark.parametrize("name", CELLS)
def test_a_pack_trains_what_its_members_would_alone(name: str) -> None:
    """Parameters, and the running statistics of heads; the loss falls."""
    cell = CELLS[name]
    packed, task, dataset = members(cell)
    alone, _, _ = members(cell)
    together = run(packed, task, dataset)
    apart = [curve for member in alone for curve in run([member], task, dataset)]
    # Where a batch norm makes the loss blind to a weight, its gradient is rounding alone, and Adam
    # divides that by no less than 1e-8.
    tolerance = 1e-7 if task.head(dataset, generator(0, "h")) else 1e-9
    for ours, theirs in zip(packed, alone, strict=True):
        torch.testing.assert_close(state(ours), state(theirs), rtol=tolerance, atol=tolerance)
    for one, other in zip(together, apart, strict=True):
        assert one == pytest.approx(other, rel=1e-8, abs=1e-9)
    assert float((state(packed[0]) - state(packed[1])).abs().max()) > 1e-2


PLAIN = [name for name in CELLS if "-none-" in name and not name.startswith("adversarial")]
"""An adversary's weights are held in one half of its loss, which asks for more than calls."""


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", PLAIN)
def test_the_losss_gradient_is_that_of_its_value(name: str, training: bool) -> None:
    """Autograd against a central difference along a random direction of all weights."""
    model, task, dataset = built(CELLS[name], 0)
    batch = batch_of(dataset, task)
    model.train(training)
    model.initialize(batch[0])
    source = generator(1, "direction")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=source, dtype=p.dtype))
    parameters = list(model.parameters())
    way = [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in parameters]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loss = task.probed_loss(model, *batch)
    assert loss.shape == ()
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, way, strict=True))
    # A call changes nothing, not the running statistics either.
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    def moved(size: float) -> float:
        with torch.no_grad():
            for p, d in zip(parameters, way, strict=True):
                p.add_(d, alpha=size)
            value = float(task.probed_loss(model, *batch))
            for p, d in zip(parameters, way, strict=True):
                p.sub_(d, alpha=size)
        return value

    numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert slope == pytest.approx(numeric, rel=1e-4)
    assert abs(slope) > 1e-4


@pytest.mark.parametrize("name", PLAIN)
def test_networks_of_a_pack_run_as_one(name: str) -> None:
    """A loss does no more with a model than to call it and its head: the fast way is taken."""
    pack, task, dataset = members(CELLS[name])
    stack = Stack([member.flow for member in pack])
    batch = [torch.stack([one] * len(SEEDS)) for one in batch_of(dataset, task)]
    losses = stack.run(task.loss, *batch)
    assert not stack._need_network
    expected = [float(task.loss(m.flow, *batch_of(dataset, task)).detach()) for m in pack]
    assert losses.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", registry.names("task"))
def test_cells_of_a_task_are_measured_in_a_pack_as_alone(name: str) -> None:
    """Probes ask the flow, scores the model; the memory of a member is known beforehand."""
    cell = next(one for one in CELLS.values() if one.task.name == name)
    assert member_bytes(cell) is not None
    probes = (
        registry.resolve("probe", {"name": "bi_lipschitz", "points": 2}),
        registry.resolve(
            "probe", {"name": "gradient_fidelity", "points": 2, "batches": 1, "batch_size": 4}
        ),
    )
    pair = [cell.model_copy(update={"seed": seed, "probes": probes}) for seed in (0, 1)]
    ended = [one.record.unwrap() for one in measure(train_cells(pair, torch.device("cpu")))]
    for ours, theirs in zip(
        sorted(ended, key=lambda record: record.seed), map(run_alone, pair), strict=True
    ):
        assert ours.cell_id == theirs.cell_id
        assert ours.task == name
        scores = [m for m in ours.measurements if m.probe == "task"]
        assert scores
        assert all(m.inputs == "test" and m.step == 10 and m.count > 300 for m in scores)
        digests = [json.loads(one.provenance)["data_sha256"] for one in (ours, theirs)]
        dataset, task = (registry.build(a, getattr(cell, a)) for a in ("dataset", "task"))
        assert set(digests) == {dataset.read().digest(targets=task.supervised)}
        for one, other in zip(ours.measurements, theirs.measurements, strict=True):
            assert replace(one, value=0.0) == replace(other, value=0.0)
            if one.inputs == "test" or not task.supervised:
                assert one.status != "unsupported"
            if one.probe == "task":
                assert one.value == pytest.approx(other.value, rel=1e-8)
            if one.probe == "bi_lipschitz" and one.metric.startswith("forward"):
                assert one.value == pytest.approx(other.value, rel=1e-4)


def test_a_task_with_a_head_leaves_the_flow_to_the_probes() -> None:
    cell = CELLS["classification-glow-none-digits"]
    probe = registry.resolve(
        "probe", {"name": "gradient_fidelity", "points": 2, "batches": 1, "batch_size": 4}
    )
    one = cell.model_copy(update={"probes": (probe,)})
    (trained,) = train_cells([one], torch.device("cpu"))
    (measured,) = measure([trained])
    record = measured.record.unwrap()
    statuses = {
        (m.inputs, m.status)
        for m in record.measurements
        if m.metric == "autograd_batch_angle_degrees_median" and m.precision == "float32"
    }
    assert ("test", "finite") in statuses
    assert {status for inputs, status in statuses if inputs != "test"} == {"unsupported"}
    assert len(statuses) == 6  # of no set nothing is said
    degrees = [m.value for m in record.measurements if m.metric.endswith("angle_degrees_median")]
    assert any(0 < value < 1e-2 for value in degrees)
    # The layers are the flow's: no head among them, and each place as it would be without one.
    blocks = {m.layer: m.block for m in record.layers}
    assert blocks
    assert not any("head" in block.lower() for block in blocks.values())
    assert flow_of(trained.flow) is not trained.flow
    assert not any(module.training for module in trained.flow.modules())


REFUSED = {
    ("classification", "affine", "none", "digits, checkerboard"): (
        "task classification cannot be combined with dataset checkerboard (line 6): classification "
        "needs a class for each input, and checkerboard has none; take a dataset with labels"
    ),
    ("classification", "affine", "none", "toy_regression"): "needs a class for each input",
    ("regression", "affine", "none", "checkerboard"): (
        "regression needs a target vector for each input, and checkerboard has none; take"
    ),
    ("regression", "affine", "none", "digits"): "needs a target vector for each input",
    ("density", "affine", "normalizing_flow", "digits"): "is the density loss itself",
}


@pytest.mark.parametrize("names", REFUSED, ids="-".join)
def test_impossible_combinations_are_found_when_the_suite_is_read(
    names: tuple[str, str, str, str], tmp_path: Path
) -> None:
    task, architecture, regularizer, dataset = names
    text = f"""
    name: x
    task: {task}
    grid:
      architectures: [{architecture}]
      regularizers: [{regularizer}]
      datasets: [{dataset}]
    """
    (said,) = mistakes(tmp_path, text)
    assert REFUSED[names] in said


def test_a_target_of_another_length_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = make_cell("regression", "affine", "none", "toy_regression")
    assert refused(cell) is None
    dataset = replace(registry.build("dataset", cell.dataset), target_dimensions=3)
    monkeypatch.setattr(registry, "build", lambda *_: dataset)
    reason = refused(cell)
    assert reason is not None
    assert "gives as many numbers as it takes, 2, and a target of toy_regression has 3" in reason


def test_what_is_possible_is_not_refused(tmp_path: Path) -> None:
    for task, dataset in (("classification", "digits"), ("regression", "toy_regression")):
        text = f"""
        name: x
        task: {task}
        grid:
          architectures: [affine, residual]
          regularizers: [none, normalizing_flow, finite_difference]
          datasets: [{dataset}]
        """
        assert mistakes(tmp_path, text) == []


def test_training_lowers_the_loss_and_a_classifier_learns() -> None:
    cell = make_cell("classification", "affine", "none", "digits")
    training = Training(steps=150, batch_size=64, learning_rate=5e-3)
    record = run_alone(cell.model_copy(update={"training": training}))
    found = {m.metric: m.value for m in record.measurements if m.probe == "task"}
    assert found["accuracy"] > 0.75
    assert found["cross_entropy"] < 0.8 < math.log(10)
