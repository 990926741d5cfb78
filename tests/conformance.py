"""The checks of ``harness.conformance``, as assertions: a row that fails says what broke."""

import math

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.continuous.adaptive_ode import AdaptiveODE
from harness.bijections.coupling.bit_exact import BitExactCoupling
from harness.bijections.free_form import FreeForm
from harness.bijections.transformers.elementwise import Affine
from harness.bijections.transformers.mixture_transformer import MixtureOfLogistics
from harness.bijections.transformers.spline_transformer import RationalQuadraticSpline
from harness.conformance import batch, bounds, gradients, inverse, jacobians, log_det, shapes, state
from harness.conformance.row import Row


def assert_passed(rows: list[Row]) -> None:
    assert rows
    failed = [row.sentence for row in rows if not row.passed]
    assert not failed, "\n".join(failed)


def autograd_jacobians(flow: Bijection, x: Tensor, *, inverse: bool = False) -> Tensor:
    """``(B, D, D)``."""
    return jacobians.jacobians(flow.inverse if inverse else flow, x)


def check_round_trip(flow: Bijection, x: Tensor, tolerance: float) -> None:
    """Both ways, and every inverse converges, unless it is learned."""
    allowed = torch.full((len(x),), tolerance, dtype=torch.float64)
    rows = shapes.shapes(flow, x) + inverse.round_trip(flow, x, allowed)
    assert_passed(rows)
    if any(isinstance(module, FreeForm) for module in flow.modules()):
        return  # what is learned comes back as near as it says, which is held to it above
    (converged,) = (row for row in rows if row.check == "convergence is reported")
    assert converged.measured == 0, converged.sentence
    with torch.no_grad():
        y, there = flow(x)
        _, back = flow.inverse(y)
    assert_passed(inverse.round_trip_of_latents(flow, y, 10 * allowed))
    assert (there + back).abs().max() < 100 * tolerance * x[0].numel()


def check_log_det(flow: Bijection, x: Tensor) -> None:
    assert_passed(log_det.log_det(flow, jacobians.linearise(flow, x)))


def check_inverse_jacobian(flow: Bijection, x: Tensor) -> None:
    assert_passed(inverse.inverse_jacobian(flow, jacobians.linearise(flow, x)))


def check_bounds(flow: Bijection, x: Tensor, *, tight: bool = False) -> None:
    """Global ones and those on a box, at these inputs and at points that gradient ascent finds."""
    rows = bounds.global_bounds(flow, {"an input": x})
    # A bound of inf would hold for anything: only some couplings may say so, and a map with jumps.
    if not any(_has_no_bound(module) for module in flow.modules()):
        assert all(math.isfinite(row.allowed) for row in rows)
    if tight:
        # Not the rows: they leave to the smallest singular value what rounding may take from it.
        values = torch.linalg.svdvals(autograd_jacobians(flow, x))
        assert math.isclose(float(values[:, 0].max()), flow.bounds().forward, rel_tol=1e-9)
        assert math.isclose(float(1 / values[:, -1].min()), flow.bounds().inverse, rel_tol=1e-9)
    assert_passed(rows)
    assert_passed(bounds.bounds_on_a_box(flow, Box.of(x)))


def _has_no_bound(module: nn.Module) -> bool:
    unlimited = isinstance(module, RationalQuadraticSpline) and (
        module.constants.maximum_slope == math.inf
    )
    without = AdaptiveODE | BitExactCoupling | Affine | FreeForm | MixtureOfLogistics
    return unlimited or isinstance(module, without)


def check_batch_mates(flow: Bijection, x: Tensor) -> None:
    assert_passed(batch.batch_mates(flow, jacobians.linearise(flow, x)))


def check_no_hidden_state(flow: Bijection, x: Tensor) -> None:
    assert_passed(state.hidden_state(flow, x))


def check_gradients(flow: Bijection, x: Tensor) -> None:
    """Every parameter moves the value or the log-det, by forward and by inverse."""
    assert_passed(gradients.gradients(flow, x))
    with torch.no_grad():
        y, _ = flow(x)
    for direction, given in (("forward", x), ("inverse", y)):
        assert not gradients.unmoving(flow, given, direction), direction
