"""Inputs where a Jacobian is worst, by gradient ascent."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.conformance.jacobians import jacobians

End = Literal["forward", "inverse"]
STEPS = 15


class Peak(NamedTuple):
    """The inputs that were visited last, and what is worst there.

    Attributes:
        x: Shape ``(B, *shape)``.
        values: ``σ_max(J)``, or ``1/σ_min(J)`` less what rounding may add, shape ``(B,)``.
    """

    x: Tensor
    values: Tensor


def constants(matrices: Tensor, end: End) -> Tensor:
    """``σ_max`` or ``1/σ_min`` of float64 matrices, never above what it truly is.

    A singular value is known to within some ``D ε σ_max``. NaN where a matrix is not finite.
    """
    finite = matrices.flatten(1).isfinite().all(1)
    values = torch.linalg.svdvals(matrices[finite])
    unknown = 10 * matrices.shape[-1] * torch.finfo(torch.float64).eps * values[:, 0]
    found = torch.full_like(matrices[:, 0, 0], torch.nan)
    found[finite] = values[:, 0] if end == "forward" else 1 / (values[:, -1] + unknown)
    return found


def ascend(flow: Bijection, x: Tensor, end: End, box: Box | None = None) -> Peak:
    """Climb ``σ_max(J(x))`` or ``1/σ_min(J(x))`` from each input, within the box if there is one.

    ``dσ = uᵀ dJ v`` with the singular vectors u, v. Steps are of one length, which shrinks; of
    all inputs that are visited the best are returned. Where a block has no second derivative,
    the way up is found by random steps.
    """
    best = constants(jacobians(flow, x), end)
    at, step = x, 0.5 * x.flatten(1).std().clamp_min(0.1)
    peak = x.clone()
    random = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        try:
            slope = _slope(flow, at, end)
        except RuntimeError:  # the block's backward pass cannot be differentiated again
            slope = torch.randn(at.shape, generator=random, dtype=torch.float64)
            at = peak
        length = slope.flatten(1).norm(dim=1).clamp_min(torch.finfo(slope.dtype).tiny)
        along = slope / length.reshape(-1, *[1] * (slope.ndim - 1))
        at = at + step * along.nan_to_num()
        if box is not None:
            at = at.clamp(box.lower, box.upper)
        step = step * 0.85
        values = constants(jacobians(flow, at), end)
        higher = (values > best) | (best.isnan() & ~values.isnan())
        best = torch.where(higher, values, best)
        peak = torch.where(higher.reshape(-1, *[1] * (at.ndim - 1)), at, peak)
    return Peak(peak, best)


def _slope(flow: Bijection, x: Tensor, end: End) -> Tensor:
    """The gradient of ``log σ`` by x, up; zero where the Jacobian is not finite."""
    matrices = jacobians(flow, x)
    finite = matrices.flatten(1).isfinite().all(1)
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype)
    u, values, vh = torch.linalg.svd(torch.where(finite[:, None, None], matrices, identity))
    which = 0 if end == "forward" else -1
    left, right, size = u[:, :, which], vh[:, which], values[:, which]
    at = x.detach().requires_grad_()
    y = flow(at)[0].flatten(1)
    (row,) = torch.autograd.grad((y * left).sum(), at, create_graph=True)
    sigma = (row.flatten(1) * right).sum(1) / size.clamp_min(torch.finfo(size.dtype).tiny)
    total = sigma.where(finite, torch.zeros_like(sigma)).sum()
    if not total.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(total, at, allow_unused=True, materialize_grads=True)
    return slope if end == "forward" else -slope

