"""Momentum residual steps: what going back costs."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.coupling.networks import Conditioner, convolutional_network, mlp
from harness.bijections.residual.momentum import MomentumResidual
from harness.conformance.ascent import ascend
from harness.conformance.candidate import Candidate
from harness.conformance.registered import candidate
from harness.conformance.training import trained
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb


def block(steps: int = 3, momentum: float = 0.7, *, image: bool = False) -> MomentumResidual:
    source = generator(steps, "momentum")
    networks: list[Conditioner] = [
        convolutional_network(2, 2, 4, source) if image else mlp(2, 2, 8, 1, source)
        for _ in range(steps)
    ]
    return MomentumResidual(networks, momentum).double()


@pytest.mark.parametrize("image", [False, True])
def test_contract(image: bool) -> None:
    flow, x = block(image=image), gaussian(5, (4, 2, 3) if image else (4,))
    perturb(flow, 1, 0.3)
    conformance.check_round_trip(flow, x, tolerance=1e-10)
    conformance.check_log_det(flow, x)
    conformance.check_inverse_jacobian(flow, x)
    conformance.check_bounds(flow, torch.cat([x, 10 * x]))
    conformance.check_batch_mates(flow, x)
    conformance.check_no_hidden_state(flow, x)
    conformance.check_gradients(flow, x)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("slope", [0.0, 0.4, 3.0])
def test_bounds_are_reached_by_a_linear_f(steps: int, slope: float) -> None:
    networks = [Conditioner([nn.Linear(2, 2)]) for _ in range(steps)]
    with torch.no_grad():
        for network in networks:
            network.layers[0].weight.copy_(slope * torch.eye(2))  # type: ignore[operator]
    flow = MomentumResidual(networks, 0.6).double()
    conformance.check_bounds(flow, gaussian(2, (4,)), tight=True)
    assert flow.bounds().inverse > 0.6**-steps


@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0])
def test_bounds_hold_for_larger_weights(factor: float) -> None:
    flow, x = block(), gaussian(20, (4,), scale=3.0)
    perturb(flow, 2, 0.3)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(factor)
    conformance.check_bounds(flow, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_hold_after_training(dtype: torch.dtype) -> None:
    def build(source: torch.Generator) -> Bijection:
        return MomentumResidual([mlp(1, 1, 8, 1, source) for _ in range(3)], 0.8)

    flow, x, _ = trained(Candidate("momentum", (2,), build))
    flow = flow.to(dtype).double()  # the very weights that float32 has
    conformance.check_bounds(flow, torch.cat([x[:20], 10 * x[:20]]))


def test_the_inverse_gain_is_at_least_that_of_the_volume() -> None:
    """``1/σ_min ≥ |det J|^(-1/D)``, of any f: the square root of ``γ^-L``."""
    flow = block(8, 0.5)
    perturb(flow, 3, 0.3)
    measured = ascend(flow, gaussian(3, (4,)), "inverse")
    assert 0.5 ** (-8 / 2) < measured <= flow.bounds().inverse


def test_rounding_grows_as_the_momentum_to_the_minus_depth() -> None:
    """In float32, of an f of slope below 1: the gain is that of ``v ← v / γ``, and no more."""
    momentum, found = 0.6, []
    for steps in (8, 16, 32):
        flow, x = block(steps, momentum), gaussian(200, (4,)).float()
        perturb(flow, 4, 0.1)
        with torch.no_grad():
            back, _ = flow.float().inverse(flow(x)[0])
        found.append((steps, float((back - x).norm(dim=1).median())))
    for (few, error), (many, larger) in pairwise(found):
        gain = momentum ** (few - many)
        assert gain / 3 < larger / error < 3 * gain
    assert found[-1][1] > 1e-2  # 6e-8 at one step


def test_float64_removes_the_error() -> None:
    flow, x = block(24, 0.6), gaussian(50, (4,))
    perturb(flow, 4, 0.1)
    with torch.no_grad():
        back, _ = flow.inverse(flow(x)[0])
    assert (back - x).abs().max() < 1e-9


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_lost_weights_bound_nothing(value: float) -> None:
    flow = block()
    with torch.no_grad():
        for parameter in flow.networks[1].parameters():  # the others still start at zero
            parameter.fill_(value)
    assert flow.bounds() == (math.inf, math.inf)


def test_bad_arguments_are_refused() -> None:
    network = mlp(2, 2, 4, 1, generator(0, "momentum"))
    for momentum in (0.0, 1.0, -0.5, math.nan):
        with pytest.raises(ValueError, match="momentum must be above 0 and below 1"):
            MomentumResidual([network], momentum)
    with pytest.raises(ValueError, match="'networks' must hold at least one"):
        MomentumResidual([], 0.9)
    with pytest.raises(ValueError, match=r"dimension 1 must be even, not of shape \(2, 5\)"):
        block()(gaussian(2, (5,)))
    choice = registry.resolve("architecture", "momentum_residual")
    with pytest.raises(ValueError, match="which 5 dimensions have not"):
        candidate(choice, (5,))
    with pytest.raises(ValueError, match="which 5 dimensions have not"):
        registry.build("architecture", choice, (5,), generator(0, "momentum"))
