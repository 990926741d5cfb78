"""Bounds of a coupling on a box, where ``y₁ = x₁`` and ``y₂`` is affine in ``x₂``.

Its Jacobian is ``J = [[I, 0], [C, D]]`` with D diagonal, and
``J⁻¹ = [[I, 0], [-D⁻¹C, D⁻¹]]``. The norm of a block matrix is at most that of the matrix of its
blocks' norms (the triangle inequality, block by block), so with ``‖C‖ ≤ c`` and ``‖D‖ ≤ d``
everything follows from the norm of ``[[1, 0], [c, d]]``, which is at most ``max(1, d) + c``: the
bound of arXiv 2006.09347.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box

Lipschitz = Callable[[slice], float]
"""A bound of the Lipschitz constant of some of a conditioner's outputs."""


class Gain(NamedTuple):
    """What ``D = diag(e)`` may be on a box, and how ``e`` moves with the raw outputs h.

    For every weight w, ``‖diag(w) ∂e/∂h‖ ≤ max(|w| · slope)`` and
    ``‖diag(w) ∂log e/∂h‖ ≤ max(|w| · log_slope)``.

    Attributes:
        values: Around ``e``, positive.
        slope: Of the changed part's shape.
        log_slope: Likewise.
    """

    values: Box
    slope: Tensor
    log_slope: Tensor

    @property
    def largest(self) -> float:
        """``sup e``."""
        return largest(self.values.upper)

    @property
    def largest_reciprocal(self) -> float:
        """``sup 1/e``."""
        return largest(self.values.lower.reciprocal())


def scale_then_shift(
    x: Box, gain: Gain, lipschitz_scale: float, lipschitz_shift: float
) -> BiLipschitz:
    """Of ``y₂ = x₂ e(s(x₁)) + t(x₁)``.

    ``C = diag(x₂) ∂e/∂s J_s + J_t``, so ``c ≤ max(|x₂| slope) Lip(s) + Lip(t)``; and
    ``D⁻¹C = diag(x₂) ∂log e/∂s J_s + D⁻¹ J_t``.
    """
    cross = largest(x.largest * gain.slope) * lipschitz_scale + lipschitz_shift
    back = largest(x.largest * gain.log_slope) * lipschitz_scale
    back += gain.largest_reciprocal * lipschitz_shift
    return _both(gain, cross, back)


def shift_then_scale(
    x: Box, shift: Box, gain: Gain, lipschitz_scale: float, lipschitz_shift: float
) -> BiLipschitz:
    """Of ``y₂ = (x₂ + t(x₁)) e(s(x₁))``.

    ``C = diag(x₂ + t) ∂e/∂s J_s + D J_t`` and ``D⁻¹C = diag(x₂ + t) ∂log e/∂s J_s + J_t``.
    """
    moved = x.plus(shift).largest
    cross = largest(moved * gain.slope) * lipschitz_scale + gain.largest * lipschitz_shift
    back = largest(moved * gain.log_slope) * lipschitz_scale + lipschitz_shift
    return _both(gain, cross, back)


def shear_norm(cross: float, diagonal: float) -> float:
    """``‖[[1, 0], [cross, diagonal]]‖₂``, inf where it is not known.

    ``σ₁ + σ₂`` and ``σ₁ - σ₂`` are ``√(‖A‖_F² ± 2 |det A|)``.
    """
    norm = (math.hypot(1 + diagonal, cross) + math.hypot(1 - diagonal, cross)) / 2
    return norm if math.isfinite(norm) else math.inf


def largest(values: Tensor) -> float:
    """The largest entry, inf if one is NaN: what is lost bounds nothing."""
    found = float(values.max())
    return math.inf if math.isnan(found) else found


def _both(gain: Gain, cross: float, back: float) -> BiLipschitz:
    return BiLipschitz(shear_norm(cross, gain.largest), shear_norm(back, gain.largest_reciprocal))
