"""The Jacobian by ``torch.autograd.functional``, a path that the harness itself does not take.

Determinants and singular values come from LAPACK, in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection

Map = Callable[[Tensor], tuple[Tensor, ...]]


class Local(NamedTuple):
    """A bijection at inputs, where it is nearly linear.

    Attributes:
        x: Inputs ``(B, *shape)``.
        y: ``F(x)``.
        log_det: What the bijection says of ``log |det J|``, shape ``(B,)``.
        jacobians: ``J_F(x)``, float64, shape ``(B, D, D)``.
        condition: ``max(1, σ_max) · max(1, 1/σ_min)``, by which rounding may grow on the way
            there and back, shape ``(B,)``; inf where J is not finite or singular.
    """

    x: Tensor
    y: Tensor
    log_det: Tensor
    jacobians: Tensor
    condition: Tensor


def jacobians(function: Map, x: Tensor) -> Tensor:
    """``(B, D_out, D_in)`` of a function that treats samples apart, and returns its value first."""

    def summed(x: Tensor) -> Tensor:
        return function(x)[0].flatten(1).sum(0)

    rows: Tensor = torch.autograd.functional.jacobian(summed, x)  # type: ignore[no-untyped-call]
    return rows.flatten(2).transpose(0, 1)


def linearise(flow: Bijection, x: Tensor) -> Local:
    """Value, log-det and Jacobian at ``x``."""
    with torch.no_grad():
        y, log_det = flow(x)
    found = jacobians(flow, x).double()
    largest, smallest = extremes(found)
    condition = largest.clamp_min(1) * smallest.reciprocal().clamp_min(1)
    return Local(x, y, log_det, found, condition)


def extremes(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """``σ_max`` and ``σ_min`` of each; inf and 0 where a matrix is not finite."""
    finite = matrices.flatten(1).isfinite().all(1)  # LAPACK fails on one that is not
    largest = torch.full_like(matrices[:, 0, 0], torch.inf)
    smallest = torch.zeros_like(largest)
    values = torch.linalg.svdvals(matrices[finite])
    largest[finite], smallest[finite] = values[:, 0], values[:, -1]
    return largest, smallest
