"""What every bijection must do, checked by oracles that can disagree with it.

The Jacobian comes from ``torch.autograd.functional``, a path that the harness does not use; its
determinant and singular values from LAPACK in float64.
"""

import math

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection
from harness.bijections.mixture_transformer import MixtureOfLogistics
from harness.bijections.spline_transformer import RationalQuadraticSpline
from harness.bijections.transformers import Affine


def autograd_jacobians(flow: Bijection, x: Tensor, *, inverse: bool = False) -> Tensor:
    """``(B, D, D)``, one sample at a time."""
    function = flow.inverse if inverse else flow

    def one(flat: Tensor, like: Tensor) -> Tensor:
        return function(flat.reshape(1, *like.shape))[0].flatten()

    jacobians = [
        torch.autograd.functional.jacobian(lambda v, s=sample: one(v, s), sample.flatten())  # type: ignore[no-untyped-call]
        for sample in x
    ]
    return torch.stack(jacobians)


def check_round_trip(flow: Bijection, x: Tensor, tolerance: float) -> None:
    with torch.no_grad():
        y, log_det = flow(x)
        back, inverse_log_det, report = flow.inverse_with_convergence(y)
    assert back.shape == x.shape
    assert back.dtype == y.dtype == x.dtype
    assert log_det.shape == inverse_log_det.shape == (len(x),)
    assert (back - x).abs().max() < tolerance * (1 + x.abs().max())
    assert (log_det + inverse_log_det).abs().max() < 100 * tolerance * x[0].numel()
    assert report.converged.all()
    assert report.iterations.shape == report.residual.shape == (len(x),)


def check_log_det(flow: Bijection, x: Tensor) -> None:
    expected = torch.linalg.slogdet(autograd_jacobians(flow, x)).logabsdet
    torch.testing.assert_close(flow(x)[1].detach(), expected, rtol=1e-8, atol=1e-8)


def check_inverse_jacobian(flow: Bijection, x: Tensor) -> None:
    y = flow(x)[0].detach()
    product = autograd_jacobians(flow, y, inverse=True) @ autograd_jacobians(flow, x)
    identity = torch.eye(x[0].numel(), dtype=x.dtype).expand_as(product)
    torch.testing.assert_close(product, identity, rtol=1e-7, atol=1e-7)


def check_bounds(flow: Bijection, x: Tensor, *, tight: bool = False) -> None:
    jacobians = autograd_jacobians(flow, x)
    # Where no bound exists, far inputs may overflow even in float64: that is what is studied here.
    finite = jacobians.flatten(1).isfinite().all(1)
    assert finite.all() or (finite.any() and flow.bounds().forward == math.inf)
    values = torch.linalg.svdvals(jacobians[finite])
    forward, inverse = float(values[:, 0].max()), float(1 / values[:, -1].min())
    bounds = flow.bounds()
    # A bound of inf would hold for anything: only some couplings may say so.
    if not any(_has_no_bound(module) for module in flow.modules()):
        assert math.isfinite(bounds.forward)
        assert math.isfinite(bounds.inverse)
    assert forward <= bounds.forward * (1 + 1e-9)
    assert inverse <= bounds.inverse * (1 + 1e-9)
    if tight:
        assert math.isclose(forward, bounds.forward, rel_tol=1e-9)
        assert math.isclose(inverse, bounds.inverse, rel_tol=1e-9)


def _has_no_bound(module: nn.Module) -> bool:
    unlimited = isinstance(module, RationalQuadraticSpline) and (
        module.constants.maximum_slope == math.inf
    )
    return unlimited or isinstance(module, Affine | MixtureOfLogistics)


def check_batch_mates(flow: Bijection, x: Tensor) -> None:
    """A sample's result is the same alone and beside a sample that is not finite."""
    spoilt = torch.cat([x[:1], torch.full_like(x[:1], torch.nan)])
    with torch.no_grad():
        for function in (flow, flow.inverse):
            given, beside = (x, spoilt) if function is flow else (flow(x)[0], flow(spoilt)[0])
            alone = function(given[:1])[0]
            torch.testing.assert_close(function(given)[0][:1], alone, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(function(beside)[0][:1], alone, rtol=1e-10, atol=1e-10)


def check_no_hidden_state(flow: Bijection, x: Tensor) -> None:
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    y, _ = flow(x)
    flow.inverse(y.detach())
    flow.bounds()
    after = flow.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]), key
    assert torch.equal(flow(x)[0], y)


def check_gradients(flow: Bijection, x: Tensor) -> None:
    """Every parameter moves the value or the log-det, by forward and by inverse."""
    for function in (flow, flow.inverse):
        flow.zero_grad()
        value, log_det = function(x if function is flow else flow(x)[0].detach())
        (value.square().sum() + log_det.sum()).backward()
        for name, parameter in flow.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name
