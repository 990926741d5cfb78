"""Steps that each sample chooses, against torchdiffeq and finite differences."""

import math

import pytest
import torch
from torch import Tensor

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.continuous.adaptive_ode import COARSEST, AdaptiveODE
from harness.bijections.continuous.runge_kutta import (
    DOPRI5,
    DOPRI5_ERROR,
    Method,
    growth,
    increment,
)
from harness.conformance.batch import batch_mates
from harness.conformance.bounds import bounds_on_a_box
from harness.conformance.inverse import inverse_jacobian
from harness.conformance.jacobians import linearise
from tests.conformance import assert_passed
from tests.networks import gaussian
from tests.vector_fields import field, last

STEEP = 0.6


def added(method: Method, size: float) -> float:
    """By a step of ``x' = x`` from 1."""
    (change,) = increment(
        method, lambda _, state: state, 0.0, size, (torch.ones(1, dtype=torch.float64),)
    )
    return float(change)


def test_a_step_is_of_order_five_and_its_estimate_of_order_four() -> None:
    off = [abs(added(DOPRI5, h) - math.expm1(h)) for h in (0.2, 0.1)]
    assert off[0] / off[1] == pytest.approx(2**6, rel=0.1)
    estimate = [abs(added(DOPRI5_ERROR, h)) for h in (0.2, 0.1)]
    assert estimate[0] / estimate[1] == pytest.approx(2**5, rel=0.1)


def test_the_error_falls_with_the_tolerance() -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq")
    f, x = field(size=STEEP), gaussian(5, (3,))
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)

    @torch.no_grad()
    def theirs() -> Tensor:
        found: Tensor = torchdiffeq.odeint(
            lambda t, x: f(float(t), x), x, ends, method="dopri5", rtol=1e-11, atol=1e-11
        )
        return found[1]

    exact = theirs()
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9):
        y, _ = AdaptiveODE(f, tolerance)(x)
        assert (y - exact).abs().max() < 30 * tolerance


def test_each_sample_takes_its_own_steps() -> None:
    flow = AdaptiveODE(field(size=STEEP), 1e-6, corrections=8).eval()
    local = linearise(flow, gaussian(5, (3,)))
    _, _, report = flow.inverse_with_convergence(local.y)
    assert len(set(report.iterations.tolist())) > 2
    assert report.converged.all()
    assert_passed(batch_mates(flow, local))
    assert_passed(inverse_jacobian(flow, local))
    together = flow(local.x)[0]
    for number, one in enumerate(local.x):
        torch.testing.assert_close(flow(one[None])[0][0], together[number], rtol=1e-13, atol=1e-13)


def test_the_derivative_is_that_of_the_steps_taken() -> None:
    """By finite differences, between two jumps; steps that were rejected count for nothing."""
    flow = AdaptiveODE(field(size=1.0), 1e-4)
    x = gaussian(2, (3,)).requires_grad_()
    assert torch.autograd.gradcheck(flow, (x,))
    sizes, tried = flow._grid(x, None, back=False)
    assert isinstance(tried, Tensor)
    assert len(sizes) > 2**COARSEST
    assert (tried > len(sizes)).any()
    total = torch.stack([torch.as_tensor(size) for _, size in sizes]).sum(0)
    assert torch.equal(total, torch.ones(2, dtype=torch.float64))


def test_a_sample_that_needs_too_many_steps_is_nan_and_the_others_go_on() -> None:
    f = field(size=STEEP)
    x = torch.cat([gaussian(3, (3,)), torch.full((1, 3), math.nan, dtype=torch.float64)])
    flow = AdaptiveODE(f, 1e-4, corrections=8)
    y, log_det = flow(x)
    assert y[:3].isfinite().all()
    assert log_det[:3].isfinite().all()
    assert y[3].isnan().all()
    few = AdaptiveODE(f, maximum_steps=2**COARSEST - 1)
    back, back_log_det, report = few.inverse_with_convergence(y)
    assert back.isnan().all()
    assert back_log_det.isnan().all()
    assert not report.converged.any()
    assert flow.inverse_with_convergence(y)[2].converged.tolist() == [True] * 3 + [False]


@pytest.mark.parametrize("value", [3e38, math.nan, math.inf])
def test_divergence_is_a_result(value: float) -> None:
    f = field()
    with torch.no_grad():
        last(f).weight.fill_(value)
    flow = AdaptiveODE(f.float(), corrections=1)
    x = gaussian(4, (3,)).float()
    y, log_det = flow(x)
    back, _, report = flow.inverse_with_convergence(x)
    assert y.isnan().all()
    assert back.isnan().all()
    assert log_det.isnan().all()
    assert not report.converged.any()
    assert flow.bounds(Box.of(x)) == (math.inf, math.inf)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_bounds_hold_on_a_box_and_none_is_claimed_of_a_map_with_jumps(factor: float) -> None:
    f = field()
    with torch.no_grad():
        last(f).weight.mul_(factor)
    flow = AdaptiveODE(f).eval()
    assert flow.bounds() == BiLipschitz(math.inf, math.inf)
    box = Box.of(3 * gaussian(8, (3,)))
    rows = bounds_on_a_box(flow, box)
    assert_passed(rows)
    assert rows[0].measured > 1.1
    assert rows[0].allowed < math.inf
    assert factor != 0.25 or rows[1].allowed < 1e3


def test_bounds_are_never_below_those_of_the_flow() -> None:
    """``exp(L)`` both ways, which short steps come near to."""
    f = field()
    bounds = AdaptiveODE(f).bounds(Box.of(gaussian(2, (3,))))
    assert min(bounds) >= math.exp(f.lipschitz()) * (1 - 1e-4)
    with torch.no_grad():
        last(f).weight.mul_(0.2)
    coarsest = growth(DOPRI5, f.lipschitz() / 4)
    assert AdaptiveODE(f).bounds(Box.of(gaussian(2, (3,)))).inverse >= (2 - coarsest) ** -4 > 1


@pytest.mark.parametrize("tolerance", [0.0, 1.0, math.nan])
def test_a_bad_tolerance_is_told(tolerance: float) -> None:
    with pytest.raises(ValueError, match=r"adaptive neural ODE: tolerance must be in \(0, 1\)"):
        AdaptiveODE(field(), tolerance)
