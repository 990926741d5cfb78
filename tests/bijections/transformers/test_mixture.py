"""Mixtures of logistics: against decimal arithmetic, and inverted by bisection."""

import math
from decimal import Decimal, localcontext

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.transformers.bisection import EXTRA_STEPS, bisection
from harness.bijections.transformers.logistic_mixture import Mixture
from harness.bijections.transformers.mixture_transformer import MixtureOfLogistics
from harness.seeding import generator
from tests.networks import gaussian, perturb

STEPS = {torch.float64: 52 + EXTRA_STEPS, torch.float32: 23 + EXTRA_STEPS}
precise = pytest.mark.parametrize("dtype", list(STEPS), ids=str)


def transformer(components: int = 8) -> MixtureOfLogistics:
    choice = registry.resolve(
        "transformer", {"name": "mixture_of_logistics", "components": components}
    )
    built = registry.build("transformer", choice)
    assert isinstance(built, MixtureOfLogistics)
    return built


def parameters(of: MixtureOfLogistics, count: int, scale: float) -> Tensor:
    return gaussian(count, (of.parameters_per_element,), 0, scale)


WEIGHTS, MEANS, SCALES = (0.2, 0.5, 0.3), (-3.0, 0.5, 2.0), (0.5, 1.0, 0.25)


def _mixture(count: int, dtype: torch.dtype) -> Mixture:
    rows = (map(math.log, WEIGHTS), MEANS, map(math.log, SCALES))
    return Mixture(*(torch.tensor(list(row), dtype=dtype).repeat(count, 1) for row in rows))


def _exact(x: float) -> tuple[float, float]:
    """Logit and log-slope from the definition, with 400 digits."""
    with localcontext() as context:
        context.prec = 400
        below = above = density = Decimal(0)
        for weight, mean, scale in zip(WEIGHTS, MEANS, SCALES, strict=True):
            z = (Decimal(x) - Decimal(mean)) / Decimal(scale)
            gate = 1 / (1 + (-z).exp())
            below, above = below + Decimal(weight) * gate, above + Decimal(weight) * (1 - gate)
            density += Decimal(weight) * gate * (1 - gate) / Decimal(scale)
        # The weights are floats: their sum is 1 to a rounding only.
        return float((below / above).ln()), float((density / below / above).ln())


@precise
def test_it_agrees_with_decimal_arithmetic_far_into_both_tails(dtype: torch.dtype) -> None:
    points = [-200.0, -40.0, -5.5, -3.0, -1.0, 0.0, 0.5, 1.25, 3.0, 17.0, 60.0, 150.0]
    x = torch.tensor(points, dtype=dtype)
    value, log_slope = _mixture(len(points), dtype).logit(x)
    exact = torch.tensor([_exact(point) for point in points], dtype=dtype)
    near = 20 * torch.finfo(dtype).eps
    torch.testing.assert_close(value, exact[:, 0], rtol=near, atol=near)
    torch.testing.assert_close(log_slope, exact[:, 1], rtol=near, atol=50 * near)


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_log_slopes_are_those_of_autograd_and_at_most_the_steepest_component(scale: float) -> None:
    one = transformer()
    h = parameters(one, 500, scale)
    x = gaussian(500, (1,), 1, scale=6.0).requires_grad_()
    y, log_slope = one(x, h)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-9, atol=0)
    steepest = h[:, :1].exp() / h[:, -one.components :].exp().amin(1, keepdim=True)
    assert (slope <= steepest * (1 + 1e-9)).all()


@precise
def test_the_inverse_reports_its_steps_and_inverts(dtype: torch.dtype) -> None:
    one = transformer()
    h = parameters(one, 300, 0.7).to(dtype)
    x = gaussian(300, (1,), 1, scale=20.0).to(dtype)
    y, log_slope = one(x, h)
    back, inverse_log, report = one.inverse_with_convergence(y, h)
    eps = torch.finfo(dtype).eps
    assert ((back - x).abs() <= 50 * eps * (1 + x.abs()) * (1 + 1 / log_slope.exp())).all()
    torch.testing.assert_close(-inverse_log, one(back, h)[1])
    assert report.iterations.tolist() == [STEPS[dtype]] * 300
    assert report.converged.all()
    assert (report.residual < 4 * eps).all()


def test_a_sample_that_is_not_finite_or_too_far_off_says_so_and_leaves_others_alone() -> None:
    one = transformer()
    h = parameters(one, 5, 0.5)
    y = gaussian(5, (1,), 2)
    alone, _, _ = one.inverse_with_convergence(y[:1], h[:1])
    y[1], h[2] = math.nan, math.nan
    h[3, 0] = -2000.0  # exp(a) is 0, and 1 / exp(a) infinite
    back, _, report = one.inverse_with_convergence(y, h)
    assert report.converged.tolist() == [True, False, False, False, True]
    assert back[1:4].isnan().all()
    assert torch.equal(back[:1], alone)


def test_a_bracket_too_long_for_its_root_has_not_converged() -> None:
    y = torch.ones(2, 1, dtype=torch.float64)
    ends = torch.tensor([[1e3], [1e12]], dtype=torch.float64)
    root, report = bisection(lambda x: x, -ends, ends, y)
    assert report.converged.tolist() == [True, False]
    torch.testing.assert_close(root, y, atol=1e-6, rtol=0)
    # Half of the last bracket, relative to root and y, 1 each.
    last = 1e12 / 2.0 ** STEPS[torch.float64] / 2
    assert float(report.residual[1]) == pytest.approx(last, rel=1e-3)


def test_a_value_that_is_lost_within_the_bracket_is_no_root() -> None:
    y = torch.zeros(1, 1)
    root, report = bisection(lambda x: x * torch.nan, y - 1, y + 1, y)
    assert root.isnan().all()
    assert not report.converged.any()


def test_components_do_not_stay_alike() -> None:
    one = transformer(4)
    h = torch.zeros(20, one.parameters_per_element, requires_grad=True)
    y, log_slope = one(gaussian(20, (1,)).float(), h)
    (gradient,) = torch.autograd.grad((y**2 / 2 - log_slope).sum(), h)
    for group in torch.split(gradient.sum(0)[2:], 4):
        assert len(set(group.tolist())) == 4


@precise
def test_the_inverse_is_the_same_with_gradients_where_slopes_vanish(dtype: torch.dtype) -> None:
    """Two components so far apart that between them the density is 0 in this dtype."""
    one = transformer(2)
    h = torch.zeros(1, one.parameters_per_element, dtype=dtype)
    h[0, 4:6] = torch.tensor([-3000.0, 3000.0])
    h[0, 6:] = 0.5
    h.requires_grad_()
    y = torch.zeros(1, 1, dtype=dtype, requires_grad=True)  # half of the weight on each side
    back, _, _ = one.inverse_with_convergence(y, h)
    with torch.no_grad():
        assert torch.equal(back, one.inverse(y, h)[0])
    assert back.isfinite().all()


def test_a_coupling_passes_the_report_on_and_has_no_bound() -> None:
    one = transformer(3)
    coupling = Coupling(2, one, mlp(2, 2 * one.parameters_per_element, 4, 1, generator(0, "m")))
    perturb(coupling, 0)
    assert coupling.bounds() == (math.inf, math.inf)
    y = gaussian(6, (4,)).float()
    x, log_det, report = coupling.inverse_with_convergence(y)
    assert report.iterations.tolist() == [STEPS[torch.float32]] * 6
    assert report.converged.all()
    again, same = coupling.inverse(y)
    assert torch.equal(x, again)
    assert torch.equal(log_det, same)


def test_networks_are_vectorised_over_their_inverse() -> None:
    one = transformer(3)
    h, y = gaussian(12, (4, one.parameters_per_element)), gaussian(12, (4, 1), 1)
    together = torch.vmap(one.inverse_with_convergence)(y, h)
    for number in range(12):
        x, log_slope, report = one.inverse_with_convergence(y[number], h[number])
        assert torch.equal(together[0][number], x)
        assert torch.equal(together[1][number], log_slope)
        assert torch.equal(together[2].residual[number], report.residual)
