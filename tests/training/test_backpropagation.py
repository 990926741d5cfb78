"""Cells whose activations are rebuilt: the same training, and what the guard counts is stored."""

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.record import Status
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.suite.model import Training
from harness.suite.packs import alone, packs
from harness.tasks.density import Density
from harness.training.batches import Batches
from harness.training.loop import Member, Trained, train
from tests.backpropagation.networks import Forgetful, coupling
from tests.cells import run_alone

PENALTY = {"name": "finite_difference", "weight": 0.1, "every": 2}
REBUILDING = ("memory_saving", "guarded")


def run(flow: Bijection, regularizer: object, **settings: object) -> Trained:
    dataset = registry.build(
        "dataset", registry.resolve("dataset", {"name": "checkerboard", "size": 500})
    )
    training = Training(batch_size=8, precision="float64", log_every=1, **settings)  # type: ignore[arg-type]
    batches = Batches(dataset, dataset.read().train, 8, [0])
    penalty = registry.build("regularizer", registry.resolve("regularizer", regularizer))
    (trained,) = train([Member(flow, training, penalty, 0)], Density(), batches)
    return trained


def built(architecture: object) -> Bijection:
    flow: Bijection = registry.build(
        "architecture", registry.resolve("architecture", architecture), (2,), generator(0, "init")
    )
    return flow


@pytest.mark.parametrize("how", REBUILDING)
@pytest.mark.parametrize(
    "architecture",
    [
        {"name": "affine", "couplings": 4, "width": 8},
        {"name": "maf", "blocks": 2, "width": 8, "batch_norm": True},
        {"name": "residual", "blocks": 2, "width": 4, "log_det": "series", "terms": 3},
    ],
    ids=lambda architecture: architecture["name"],
)
def test_it_trains_as_with_autograd(architecture: dict[str, object], how: str) -> None:
    """Running statistics and estimates that are drawn anew before each step, too."""
    flows = {way: built(architecture) for way in ("autograd", how)}
    ends = {way: run(flow, PENALTY, steps=5, backpropagation=way) for way, flow in flows.items()}
    assert {end.status for end in ends.values()} == {Status.OK}
    states = [flow.state_dict() for flow in flows.values()]
    assert states[0].keys() == states[1].keys()
    for name, one in states[0].items():
        torch.testing.assert_close(states[1][name], one, rtol=1e-9, atol=1e-9)
    curves = [[point.value for point in end.curve] for end in ends.values()]
    assert curves[1] == pytest.approx(curves[0], rel=1e-9)


def test_what_the_guard_counts() -> None:
    couplings = [coupling(number, 2) for number in range(9)]
    flow = Chain([*couplings[:5], Forgetful(1.0), *couplings[5:]])
    trained = run(flow, "none", steps=3, backpropagation="guarded")
    assert trained.counts == {"recomputed_segments": (3, 3 * 2)}
    assert run(flow, "none", steps=1).counts == {}
    assert run(flow, "none", steps=1, backpropagation="memory_saving").counts == {}


def cell(seed: int = 0, **training: object) -> Cell:
    return Cell(
        task=registry.resolve("task", "density"),
        architecture=registry.resolve("architecture", {"name": "affine", "couplings": 3}),
        regularizer=registry.resolve("regularizer", "none"),
        dataset=registry.resolve("dataset", {"name": "checkerboard", "size": 500}),
        probes=(),
        training=Training(**training),  # type: ignore[arg-type]
        seed=seed,
    )


def test_the_count_is_a_measurement() -> None:
    record = run_alone(cell(steps=4, batch_size=8, backpropagation="guarded"))
    (found,) = [one for one in record.measurements if one.probe == "training"]
    assert (found.metric, found.inputs, found.precision) == (
        "recomputed_segments",
        "none",
        "float32",
    )
    assert (found.value, found.step) == (0, 4)
    assert found.count > 0
    assert found.count % 4 == 0
    plain = run_alone(cell(steps=4, batch_size=8))
    assert all(one.probe != "training" for one in plain.measurements)


@pytest.mark.parametrize("how", REBUILDING)
def test_such_cells_train_one_by_one_and_are_not_compiled(how: str) -> None:
    cells = [cell(seed, backpropagation=how) for seed in range(3)]
    assert packs(cells, 64, 1) == tuple((one,) for one in cells)
    assert alone(cells[0]) == "its activations are rebuilt layer by layer"
    assert alone(cell()) is None


def test_a_network_that_cannot_says_so_before_training() -> None:
    one = coupling(0, 2)
    network = torch.nn.Sequential(one.conditioner, torch.nn.Dropout(0.0))
    flow = Chain([Coupling(one.parts, one.transformer, network)])
    with pytest.raises(ValueError, match=r"activations cannot be rebuilt: .* Dropout, draws"):
        run(flow, "none", steps=1, backpropagation="memory_saving")
