"""What the constants of a rational-quadratic spline bound, whatever its parameters.

Notation of a segment: ξ its place, ``p = (1-ξ)²``, ``q = ξ²``, ``m = ξ(1-ξ)``; s the secant,
``a = δ₀/s``, ``b = δ₁/s`` the slopes at its ends, ``c = a + b``; ``d = p + q + c m`` and
``n = a p + b q + 2m``, so that the slope is ``f' = s n / d²`` and the height ``φ = (q + a m) / d``.
"""

import math
from typing import NamedTuple

from harness.bijections.base import BiLipschitz
from harness.bijections.coupling.coupling_bounds import shear_norm


def steepest(left: float, right: float, secant: float) -> float:
    """``f' ≤ max(δ₀, δ₁, 2s)``; reached at the knots, and in the limit where both slopes are 0.

    n is a mean of a, b and 1. For ``c ≥ 2``, d is at least 1 and n at most ``max(a, b)``. For
    ``c < 2``, n is largest where one slope has all of c, and with ``r = ξ / (1-ξ)`` what
    ``2 d² - n`` then is, times ``(1+r)⁴``, is a sum of what is not negative:
    ``2 (r² + c r + 1)² - (c r² + 2r)(1+r)² = (r-1)² ((2-c) r² + 2r + 2) + 4 c r + 2 c² r²``.
    """
    return max(left, right, 2 * secant)


def flattest(left: float, right: float, secant: float) -> float:
    """``f' ≥ min(δ₀, δ₁, s² / (δ₀ + δ₁))``; reached at the knots, and in the limit of large c.

    A quotient of polynomials without negative coefficients is at least the least quotient of
    their coefficients. Those of ``(b r² + 2r + a)(1+r)²`` by ``(r² + c r + 1)²`` are b, (b+1)/c,
    (c+4)/(c²+2), (a+1)/c and a, and none of them is below ``min(a, b, 1/c)``.
    """
    return min(left, right, secant * secant / (left + right))


class Constants(NamedTuple):
    """Of a spline on [-bound, bound] whose knots are softmaxes of ``K`` numbers each.

    Attributes:
        bins: K.
        bound: Half the length of the interval.
        minimum_width: Of a bin, as a fraction of the interval.
        minimum_height: Likewise.
        minimum_slope: At a knot, at most 1.
        maximum_slope: At a knot, at least 1; inf if there is none.
        slope_rate: ``sup |dδ/dh|`` of the map from the parameter h to the slope at a knot.
    """

    bins: int
    bound: float
    minimum_width: float
    minimum_height: float
    minimum_slope: float
    maximum_slope: float
    slope_rate: float

    def secants(self) -> tuple[float, float]:
        """``min H / max W`` and ``max H / min W``."""
        widest = 1 - (self.bins - 1) * self.minimum_width
        highest = 1 - (self.bins - 1) * self.minimum_height
        return self.minimum_height / widest, highest / self.minimum_width

    def slopes(self) -> tuple[float, float]:
        """Bounds of the slope anywhere, the tails with their slope of 1 included."""
        low, high = self.secants()
        flat = low * low / (2 * self.maximum_slope)
        return min(self.minimum_slope, flat), steepest(self.minimum_slope, self.maximum_slope, high)

    def parameter_gradients(self) -> tuple[float, float]:
        """Bounds of ``‖∂y/∂h‖₂`` of one element at fixed x, and of ``‖∂x/∂h‖₂`` at fixed y.

        With ``κ = m (a p - b q) / n``, which is within ±m, the implicit function theorem gives

        - of the heights: ``∂y = (1-u) ∂y₀ + u ∂y₁`` with ``u = φ - κ f'/s``,
        - of the widths: ``∂x = (1-v) ∂x₀ + v ∂x₁`` with ``v = ξ - κ``,
        - of the slopes: ``∂y = W (m/d) ((1-φ) ∂δ₀ - φ ∂δ₁)``,

        and ``∂y = -f' ∂x`` takes one to the other. As ``m ≤ ξ, 1-ξ``, v is in [0, 1], and so is
        u, for ``a m ≤ φ d`` and ``b m ≤ (1-φ) d``: a mean of knots moves no more than they do,
        and a knot ``bound (2 S - 1)``, S a sum of a softmax, by ``√2 S (1-S)`` of the whole
        length at most. Further ``m/d ≤ 1/(2 + c)``, and ``(m d / n) (1-φ) = p (m + b q) / n ≤ p``
        and ``(m d / n) φ ≤ q``, whose squares sum to at most 1.
        """
        flat, steep = self.slopes()
        low, high = self.secants()
        by_x, by_y = (
            self.bound * (1 - self.bins * minimum) / math.sqrt(2)
            for minimum in (self.minimum_width, self.minimum_height)
        )
        widest = 2 * self.bound * (1 - (self.bins - 1) * self.minimum_width) * self.slope_rate
        return (
            math.hypot(by_y, steep * by_x, widest / (2 + 2 * self.minimum_slope / high)),
            math.hypot(by_y / flat if flat else math.inf, by_x, widest / low),
        )

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """Global bounds of a coupling by this spline.

        ``J = [[I, 0], [C, D]]`` with D diagonal, within :meth:`slopes`, and the rows of C those
        of the conditioner's Jacobian times ``∂y/∂h``, which each element has for itself: its norm
        is at most that of the 2 × 2 matrix of the blocks' norms. Outside the interval C is 0 and
        D is 1, for the slope at its ends is fixed. The inverse likewise, from ``∂x/∂h``.
        """
        flat, steep = self.slopes()
        crosses = [
            rate * conditioner_lipschitz if conditioner_lipschitz else 0.0
            for rate in self.parameter_gradients()
        ]
        forward = shear_norm(crosses[0], steep)
        inverse = shear_norm(crosses[1], 1 / flat if flat else math.inf)
        return BiLipschitz(forward, inverse)
