"""Every registered architecture: against the contract, and against itself after training."""

import math

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.datasets.base import Dataset
from harness.registry import UnresolvedError
from harness.seeding import generator
from harness.suite.model import Training
from harness.training.batches import Batches
from harness.training.loop import Member, train
from tests import conformance
from tests.networks import cases, gaussian, network
from tests.probing import CHEAP, inputs_in_a_cube, probed

architecture = pytest.mark.parametrize("case", cases())


def test_every_registered_architecture_is_tested() -> None:
    tested = {choice.name for choice, _ in cases().values()}
    assert tested == set(registry.names("architecture"))


@architecture
def test_contract(case: str) -> None:
    flow, shape = network(case)
    x = gaussian(3, shape)
    conformance.check_round_trip(flow, x, tolerance=1e-8)
    conformance.check_log_det(flow, x)
    conformance.check_inverse_jacobian(flow, x)
    conformance.check_bounds(flow, torch.cat([x, 10 * x]))
    conformance.check_batch_mates(flow, x)
    conformance.check_no_hidden_state(flow, x)


@architecture
def test_the_latent_has_as_many_dimensions_as_the_input(case: str) -> None:
    flow, shape = network(case)
    assert flow(gaussian(2, shape))[0].shape == (2, math.prod(shape))


@architecture
def test_a_batch_may_be_empty(case: str) -> None:
    flow, shape = network(case)
    z, log_det = flow(gaussian(0, shape))
    x, back, report = flow.inverse_with_convergence(z)
    assert (z.shape, x.shape) == ((0, math.prod(shape)), (0, *shape))
    assert log_det.shape == back.shape == report.converged.shape == (0,)


@architecture
def test_only_the_given_generator_is_read(case: str) -> None:
    choice, shape = cases()[case]
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        flow = registry.build("architecture", choice, shape, generator(7, "test"))
        states.append(flow.state_dict())
    other = registry.build("architecture", choice, shape, generator(8, "test")).state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], other[key]) for key in other)


@architecture
def test_weights_survive_a_round_trip_through_a_file(case: str) -> None:
    flow, shape = network(case)
    again, _ = network(case, seed=1)
    again.load_state_dict({key: value.clone() for key, value in flow.state_dict().items()})
    x = gaussian(2, shape)
    assert torch.equal(flow(x)[0], again(x)[0])


def _trained(name: str, dataset: Dataset, steps: int) -> Bijection:
    flow: Bijection = registry.build(
        "architecture", registry.resolve("architecture", name), dataset.shape, generator(0, "t")
    )
    settings = Training(steps=steps, batch_size=64, learning_rate=2e-3)
    task = registry.build("task", registry.resolve("task", "density"))
    none = registry.build("regularizer", registry.resolve("regularizer", "none"))
    batches = Batches(dataset, dataset.read().train, 64, [0])
    (result,) = train([Member(flow, settings, none, 0)], task, batches)
    assert result.status == "ok"
    return flow.eval()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (name, data)
        for data, shape in (("eight_gaussians", (2,)), ("digits", (1, 8, 8)))
        for name in sorted({choice.name for choice, taken in cases().values() if taken == shape})
    ],
)
def test_after_training_in_float32(name: str, data: str) -> None:
    """In distribution all reconstruct; the log-det of trained weights is still right."""
    dataset: Dataset = registry.build("dataset", registry.resolve("dataset", data))
    flow = _trained(name, dataset, steps=40)
    x = dataset.prepare(dataset.read().test[:16], generator(0, "x"))
    conformance.check_round_trip(flow, x, tolerance=1e-4)
    conformance.check_log_det(flow.double(), x[:3].double())


@architecture
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_network_whose_weights_are_lost_is_still_measured(case: str, value: float) -> None:
    """Divergence is a result: every probe has numbers for it, and no bound is claimed."""
    flow, shape = network(case, dtype=torch.float32)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.fill_(value)
    bounds = flow.bounds()
    assert not bounds.forward < math.inf
    x = gaussian(3, shape).float()
    for name in registry.names("probe"):
        inputs = inputs_in_a_cube({"test": x})
        probe = registry.resolve("probe", {"name": name, **CHEAP.get(name, {})})
        assert probed(probe, flow, inputs, generator(0, name))


def test_nested_parameters_are_settled_by_name() -> None:
    by_name = registry.resolve("architecture", {"name": "affine", "scale": "exp"})
    in_full = registry.resolve("architecture", {"name": "affine", "scale": {"name": "exp"}})
    assert by_name == in_full
    assert registry.label("architecture", by_name) == "affine(scale=exp)"
    assert registry.resolve("architecture", by_name) == by_name


def test_unknown_names_and_parameters_are_told() -> None:
    with pytest.raises(UnresolvedError, match="did you mean 'affine'"):
        registry.resolve("architecture", "afine")
    with pytest.raises(UnresolvedError, match="did you mean 'couplings'"):
        registry.resolve("architecture", {"name": "affine", "coupling": 4})
    with pytest.raises(UnresolvedError, match="did you mean 'bounded_exp'"):
        registry.resolve("architecture", {"name": "affine", "scale": "boundedexp"})
