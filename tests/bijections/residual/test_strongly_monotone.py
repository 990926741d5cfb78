"""A block whose two constants no weights can change: held, and reached."""

import math

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.residual.contraction import Contraction
from harness.bijections.residual.nonexpansive import Nonexpansive
from harness.bijections.residual.strongly_monotone import StronglyMonotone
from harness.conformance.ascent import ascend
from harness.conformance.candidate import Candidate
from harness.conformance.jacobians import jacobians
from harness.conformance.registered import candidate
from harness.conformance.training import trained
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb

SMALLEST, LARGEST = 0.25, 3.0


def block(layers: int = 1, dimension: int = 3, width: int = 8) -> StronglyMonotone:
    source = generator(layers, "monotone")
    return StronglyMonotone(dimension, width, layers, SMALLEST, LARGEST, source).double()


def constants(flow: Bijection, x: torch.Tensor) -> tuple[float, float]:
    """The largest and the smallest singular value, at inputs and where ascent leads from some."""
    values = torch.linalg.svdvals(conformance.autograd_jacobians(flow, x))
    largest = max(float(values.max()), ascend(flow, x[:3], "forward"))
    return largest, min(float(values.min()), 1 / ascend(flow, x[:3], "inverse"))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_contract(layers: int, dtype: torch.dtype) -> None:
    flow, x = block(layers), gaussian(5, (3,))
    perturb(flow, 1, 0.5)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    conformance.check_round_trip(flow.to(dtype), x.to(dtype), tolerance)
    flow = flow.double()
    conformance.check_log_det(flow, x)
    conformance.check_inverse_jacobian(flow, x)
    conformance.check_bounds(flow, torch.cat([x, 10 * x]))
    conformance.check_batch_mates(flow, x)
    conformance.check_no_hidden_state(flow, x)
    conformance.check_gradients(flow, x)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 1.0, 2.0, 4.0, 100.0])
def test_no_weights_leave_the_certificate(layers: int, factor: float) -> None:
    flow, x = block(layers), gaussian(40, (3,), scale=3.0)
    perturb(flow, 2, 1.0)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            parameter.mul_(min(factor, 4.0) if "sharpness" in name else factor)
    largest, smallest = constants(flow, x)
    assert SMALLEST * (1 - 1e-9) <= smallest <= largest <= LARGEST * (1 + 1e-9)
    # The certificate itself, not a bound of these weights that happens to be near.
    assert flow.bounds() == pytest.approx((LARGEST, 1 / SMALLEST), rel=1e-9)


def test_both_constants_are_reached() -> None:
    """With orthonormal columns, where all units are on, and where all are off."""
    flow = block(width=3)
    network = flow.residual.network
    assert isinstance(network, Nonexpansive)
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.eye(3))  # type: ignore[operator]
        network.layers[0].bias.zero_()  # type: ignore[operator]
    x = torch.tensor([[30.0] * 3, [-30.0] * 3], dtype=torch.float64)
    largest, smallest = constants(flow, x)
    assert smallest == pytest.approx(SMALLEST, rel=1e-9)
    # The norm that weights are divided by is an upper bound, of rank 3 by up to 0.4 % too large.
    assert largest == pytest.approx(LARGEST, rel=1e-2)


def test_the_map_is_monotone_between_any_two_points() -> None:
    flow, (a, b) = block(2), gaussian(2000, (2, 3), scale=3.0).unbind(1)
    perturb(flow, 3, 1.0)
    with torch.no_grad():
        change, step = flow(a)[0] - flow(b)[0], a - b
    rayleigh = (change * step).sum(1) / step.square().sum(1)
    assert (rayleigh >= SMALLEST).all()
    assert (change.norm(dim=1) <= LARGEST * step.norm(dim=1)).all()


@pytest.mark.parametrize("layers", [1, 3])
def test_the_jacobian_of_the_network_is_that_of_its_tangents_and_of_autograd(layers: int) -> None:
    flow, x = block(layers), gaussian(4, (3,))
    perturb(flow, 6, 0.5)
    network = flow.residual.network
    value, found = network.value_and_jacobian(x)
    same, by_tangents = Contraction.value_and_jacobian(network, x)
    torch.testing.assert_close(value, same)
    torch.testing.assert_close(found, by_tangents)
    by_autograd = jacobians(lambda x: (network(x),), x)
    torch.testing.assert_close(found, by_autograd)


def test_one_layer_starts_midway_between_the_constants() -> None:
    flow = block(width=3)
    weight = flow.residual.network.layers[0].weight  # type: ignore[index, union-attr]
    with torch.no_grad():
        weight.copy_(torch.eye(3))
    found = conformance.autograd_jacobians(flow, torch.zeros(1, 3, dtype=torch.float64))
    middle = math.sqrt(SMALLEST * LARGEST)
    torch.testing.assert_close(found[0], middle * torch.eye(3).double(), rtol=1e-2, atol=0)


def test_two_layers_turn_as_well_as_stretch() -> None:
    """The Jacobian of one layer is symmetric; of more it need not be."""
    x = gaussian(3, (3,))
    for layers, symmetric in ((1, True), (2, False)):
        jacobian = conformance.autograd_jacobians(block(layers), x)
        assert torch.allclose(jacobian, jacobian.mT, atol=1e-12) is symmetric


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_uses_the_certificate_and_does_not_leave_it(dtype: torch.dtype) -> None:
    def build(source: torch.Generator) -> Bijection:
        return StronglyMonotone(2, 16, 1, SMALLEST, LARGEST, source)

    flow, x, _ = trained(Candidate("monotone", (2,), build))
    flow = flow.to(dtype).double()  # the very weights that float32 has
    largest, smallest = constants(flow, torch.cat([x[:100], 10 * x[:100]]))
    bounds = flow.bounds()
    assert 1 / bounds.inverse <= smallest < 3 * SMALLEST
    assert LARGEST / 3 < largest <= bounds.forward
    assert bounds == pytest.approx((LARGEST, 1 / SMALLEST), rel=1e-6)


def test_the_inverse_needs_no_more_iterations_than_the_certificate_says() -> None:
    """The error shrinks by ``(ν - μ) / (ν + μ)`` a step, or faster."""
    flow, y = block(2), gaussian(5, (3,))
    perturb(flow, 4, 1.0)
    contraction = (LARGEST - SMALLEST) / (LARGEST + SMALLEST)
    _, _, report = flow.inverse_with_convergence(y)
    assert report.converged.all()
    # Every second evaluation at least is a plain step.
    assert report.iterations.max() <= 2 * math.log(1e-16) / math.log(contraction) + 10
    flow.residual.maximum_iterations = 3
    y[0] = torch.nan
    _, _, report = flow.inverse_with_convergence(y)
    assert not report.converged.any()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_lost_weights_bound_nothing(value: float) -> None:
    flow = block()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.fill_(value)
    assert flow.bounds() == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("smallest", "largest"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, math.inf)]
)
def test_constants_that_allow_nothing_are_refused(smallest: float, largest: float) -> None:
    with pytest.raises(ValueError, match="strongly monotone block: 'smallest' must be above 0"):
        StronglyMonotone(2, 4, 1, smallest, largest, generator(0, "monotone"))


def test_empty_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="nonexpansive network: layers must be at least 1, not 0"):
        StronglyMonotone(2, 4, 0, 0.5, 2.0, generator(0, "monotone"))


def test_a_suite_with_constants_the_wrong_way_round_is_refused() -> None:
    named = {"name": "bilipnet", "smallest": 2.0, "largest": 0.5}
    with pytest.raises(ValueError, match="bilipnet's 'smallest' must be below its 'largest'"):
        candidate(registry.resolve("architecture", named))
