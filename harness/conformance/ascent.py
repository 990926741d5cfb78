"""Inputs where a Jacobian is worst, by gradient ascent."""

import math
from typing import Literal

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.conformance.jacobians import jacobians
from harness.gradients.singular_value import slope

End = Literal["forward", "inverse"]
STEPS = 8


def constants(matrices: Tensor, end: End) -> Tensor:
    """``σ_max`` or ``1/σ_min`` of float64 matrices; NaN where a matrix is not finite.

    A singular value is known to within some ``D ε σ_max``, so ``1/σ_min`` is what it surely is.
    """
    values, _, _, finite = _decomposed(matrices, end)
    return values.where(finite, torch.full_like(values, torch.nan))


def ascend(flow: Bijection, x: Tensor, end: End, box: Box | None = None) -> float:
    """The largest ``σ_max(J)`` or ``1/σ_min(J)`` on the way up from each input.

    ``dσ = uᵀ dJ v`` with the singular vectors u, v. Steps are of one length, which shrinks.

    Args:
        flow: In float64.
        x: Where to start, shape ``(B, *shape)``.
        end: Which of the two.
        box: Where to stay, if there is one.
    """
    best, step = -math.inf, 0.5 * x.flatten(1).std().clamp_min(0.1)
    random = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        values, left, right, finite = _decomposed(jacobians(flow, x), end)
        best = max([best, *map(float, values[finite])])
        try:
            uphill = slope(flow, x, left, right)
        except RuntimeError:  # a backward pass that cannot be differentiated: any direction
            uphill = torch.randn(x.shape, generator=random, dtype=torch.float64)
        if not uphill.any():  # a linear map is the same everywhere
            return best
        if end == "inverse":
            uphill = -uphill
        length = uphill.flatten(1).norm(dim=1).clamp_min(torch.finfo(uphill.dtype).tiny)
        x = x + step * (uphill / length.reshape(-1, *[1] * (uphill.ndim - 1))).nan_to_num()
        step = 0.8 * step
        if box is not None:
            x = x.clamp(box.lower, box.upper)
    last = constants(jacobians(flow, x), end).nan_to_num(-math.inf)
    return max([best, *map(float, last)])


def _decomposed(matrices: Tensor, end: End) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The constant, its singular vectors, and which matrices are finite."""
    finite = matrices.flatten(1).isfinite().all(1)
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype)
    u, values, vh = torch.linalg.svd(torch.where(finite[:, None, None], matrices, identity))
    if end == "forward":
        return values[:, 0], u[:, :, 0], vh[:, 0], finite
    unknown = 10 * matrices.shape[-1] * torch.finfo(values.dtype).eps * values[:, 0]
    return 1 / (values[:, -1] + unknown), u[:, :, -1], vh[:, -1], finite
