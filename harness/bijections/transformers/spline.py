"""Monotone rational-quadratic splines with linear tails: the mathematics, without parameters.

Durkan, Bekasov, Murray & Papamakarios 2019, arXiv 1906.04032. Shapes: ``K`` bins, so ``K + 1``
knots, along dimension 1, before the dimensions of what is transformed.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Knots(NamedTuple):
    """Where a spline passes, and how steeply.

    Attributes:
        x: Shape ``(B, K + 1, …)``, increasing from -bound to bound.
        y: Likewise.
        slopes: ``dy/dx`` at the knots, the same shape; positive, and 1 at both ends, so that the
            tails continue it smoothly.
    """

    x: Tensor
    y: Tensor
    slopes: Tensor


class _Bin(NamedTuple):
    """The bins that hold a batch: their first knots, their sizes, and ``s = H / W``."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left: Tensor
    right: Tensor
    secant: Tensor


def edges(raw: Tensor, bound: float, minimum: float) -> Tensor:
    """Knots on [-bound, bound] that part it in the proportions of a softmax.

    ``size_k = 2 bound (minimum + (1 - K minimum) softmax(raw)_k)``.

    Args:
        raw: Shape ``(B, K, …)``.
        bound: Half the length of the interval.
        minimum: Of a part, as a fraction of the interval; below ``1 / K``.

    Returns:
        Shape ``(B, K + 1, …)``; the ends are exact.
    """
    parts = minimum + (1 - raw.shape[1] * minimum) * F.softmax(raw, dim=1)
    inner = parts[:, :-1].cumsum(1) * (2 * bound) - bound
    end = torch.full_like(raw[:, :1], bound)
    return torch.cat([-end, inner, end], dim=1)


def spline(x: Tensor, knots: Knots, bound: float) -> tuple[Tensor, Tensor]:
    """``(y, log dy/dx)``: within [-bound, bound] the spline, outside ``y = x``.

    With ``ξ`` the place within the bin, ``φ = (s ξ² + δ₀ ξ(1-ξ)) / d`` and
    ``d = s (ξ² + (1-ξ)²) + (δ₀ + δ₁) ξ(1-ξ)``, the value is ``y₀ + H φ``.

    Args:
        x: Shape ``(B, …)``.
        knots: One spline for each entry of x.
        bound: Where the tails begin.
    """
    # The tails' inputs are moved to the edge first: a mask alone would let their gradients, which
    # may be infinite, through as 0 · inf.
    inner = x.clamp(-bound, bound)
    at = _locate(inner, knots, knots.x)
    place = (inner - at.x) / at.width
    value, log_slope = _within(place, at)
    return _or_tail(x, bound, value, log_slope)


def spline_inverse(y: Tensor, knots: Knots, bound: float) -> tuple[Tensor, Tensor]:
    """``(x, log dx/dy)``, in closed form.

    In the odds ``r = ξ / (1-ξ)`` the equation is ``(1-φ) r² + β r - φ = 0`` with
    ``β = (δ₀ (1-φ) - δ₁ φ) / s``. Its discriminant ``β² + 4 φ (1-φ)`` is a sum of squares and
    products of what is not negative, so no rounding makes it negative, and as β is not 0 where
    φ is 0 or 1, the root has a finite slope. Of its two forms that without cancellation is taken.
    """
    inner = y.clamp(-bound, bound)
    at = _locate(inner, knots, knots.y)
    below = (inner - at.y) / at.height
    above = 1 - below
    beta = (at.left * above - at.right * below) / at.secant
    rises = beta >= 0
    # Not abs, whose slope at 0 is that of neither side.
    half = (torch.where(rises, beta, -beta) + (beta * beta + 4 * below * above).sqrt()) / 2
    place = torch.where(rises, below / (below + half), half / (half + above))
    _, log_slope = _within(place, at)
    return _or_tail(y, bound, at.x + at.width * place, -log_slope)


def _locate(value: Tensor, knots: Knots, along: Tensor) -> _Bin:
    """The bins in which ``value`` lies along one axis of the knots."""
    # A count of comparisons, not a search: it never leaves the bins, for NaN neither.
    number = (value.unsqueeze(1) >= along[:, 1:-1]).sum(1)
    index = number[:, None, None].expand(-1, 3, -1, *number.shape[1:])
    table = torch.stack(knots, dim=1)
    x, y, left = table.gather(2, index).squeeze(2).unbind(1)
    end_x, end_y, right = table.gather(2, index + 1).squeeze(2).unbind(1)
    width, height = end_x - x, end_y - y
    return _Bin(x, y, width, height, left, right, height / width)


def _within(place: Tensor, at: _Bin) -> tuple[Tensor, Tensor]:
    """Value and log-slope at ``ξ = place``: sums of positive terms only."""
    rest = 1 - place
    both, first, second = place * rest, rest * rest, place * place
    denominator = at.secant * (first + second) + (at.left + at.right) * both
    value = at.y + at.height * (at.secant * second + at.left * both) / denominator
    numerator = at.right * second + 2 * at.secant * both + at.left * first
    return value, 2 * (at.secant / denominator).log() + numerator.log()


def _or_tail(
    given: Tensor, bound: float, value: Tensor, log_slope: Tensor
) -> tuple[Tensor, Tensor]:
    inside = given.abs() < bound
    return torch.where(inside, value, given), torch.where(inside, log_slope, 0.0)
