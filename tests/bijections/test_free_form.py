"""A learned inverse: what it says of itself, exact log-dets, and no bound of the inverse."""

import math

import pytest
import torch
from torch import Tensor

from harness.bijections.coupling.networks import Conditioner, linear, mlp
from harness.bijections.free_form import FreeForm
from harness.conformance import gradients
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb

G = generator(0, "free form")


def _linear(matrix: Tensor) -> Conditioner:
    layer = linear(len(matrix), len(matrix), G)
    network = Conditioner([layer]).double()
    with torch.no_grad():
        layer.weight.copy_(matrix)
    return network


def _perturbed() -> tuple[FreeForm, Tensor]:
    flow = FreeForm(mlp(3, 3, 8, 2, G), mlp(3, 3, 6, 1, G)).double()
    perturb(flow, 1, 0.3)
    return flow, gaussian(5, (3,))


def test_as_built_it_is_the_identity_and_inverted() -> None:
    flow, x = FreeForm(mlp(3, 3, 8, 2, G), mlp(3, 3, 6, 1, G)).double(), gaussian(5, (3,))
    y, log_det = flow(x)
    back, _, report = flow.inverse_with_convergence(y)
    assert torch.equal(x, y)
    assert torch.equal(x, back)
    assert not log_det.any()
    assert report.converged.all()


def test_an_inverse_that_is_exact_has_converged_and_one_that_is_off_says_how_far() -> None:
    """Doubled and halved, which no rounding disturbs; then halved too little."""
    identity = torch.eye(2, dtype=torch.float64)
    x = gaussian(4, (2,))
    for share, residual in ((-0.5, 0.0), (-0.25, 0.2)):
        flow = FreeForm(_linear(identity), _linear(share * identity))
        y, log_det = flow(x)
        back, inverse_log_det, report = flow.inverse_with_convergence(y)
        torch.testing.assert_close(back, (1 + share) * 2 * x)
        torch.testing.assert_close(log_det, torch.full((4,), 2 * math.log(2)).double())
        torch.testing.assert_close(
            inverse_log_det, torch.full((4,), 2 * math.log(1 + share)).double()
        )
        # F(back) = 2 · 0.75 y = 1.5 y, so (1.5 - 1) / (1.5 + 1).
        torch.testing.assert_close(report.residual, torch.full((4,), residual).double())
        assert report.converged.tolist() == [residual == 0] * 4
        assert report.iterations.tolist() == [1] * 4


def test_contract() -> None:
    flow, x = _perturbed()
    conformance.check_round_trip(flow, x, tolerance=1e-12)
    conformance.check_log_det(flow, x)
    conformance.check_batch_mates(flow, x)
    conformance.check_no_hidden_state(flow, x)
    conformance.check_bounds(flow, torch.cat([x, 10 * x]))
    conformance.assert_passed(gradients.gradients(flow, x))
    conformance.check_round_trip(flow.float(), x.float(), tolerance=1e-5)


def test_the_inverse_has_the_log_det_of_the_map_that_is_applied() -> None:
    flow, y = _perturbed()
    expected = torch.linalg.slogdet(conformance.autograd_jacobians(flow, y, inverse=True))
    torch.testing.assert_close(flow.inverse(y)[1].detach(), expected.logabsdet)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_the_forward_bound_holds(factor: int) -> None:
    flow, x = _perturbed()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(factor)
    conformance.check_bounds(flow, torch.cat([x, 10 * x]))


def test_the_bound_is_reached_and_the_inverse_has_none() -> None:
    """``y = x + A x`` with norms 3 and 0: and with -1, where no inverse exists."""
    flow = FreeForm(_linear(torch.diag(torch.tensor([3.0, -1.0]))), _linear(torch.zeros(2, 2)))
    assert flow.bounds() == pytest.approx((4, math.inf))
    _, log_det = flow(gaussian(2, (2,)))
    assert (log_det == -math.inf).all()
    _, _, report = flow.inverse_with_convergence(gaussian(2, (2,)))
    assert not report.converged.any()


def test_what_is_lost_has_not_converged_and_bounds_nothing() -> None:
    flow, y = _perturbed()
    y[0] = torch.nan
    y[1] = torch.inf
    assert not flow.inverse_with_convergence(y)[2].converged[:2].any()
    as_built = FreeForm(mlp(3, 3, 8, 2, G), mlp(3, 3, 6, 1, G)).double()  # its last layer is zero
    for lost in (flow, as_built):
        with torch.no_grad():
            lost.network.layers[0].weight.fill_(math.nan)  # type: ignore[operator]
        assert lost.bounds() == (math.inf, math.inf)
