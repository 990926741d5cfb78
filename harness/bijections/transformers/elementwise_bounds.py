"""Bounds on a box of any elementwise transformer, from bounds of its derivatives there."""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.coupling.coupling_bounds import Lipschitz, largest, shear_norm

Map = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Derivatives(NamedTuple):
    """Of ``y = T(x; h)`` for every x and h of a box, element by element.

    The P parameters of an element are of several kinds, which are bounded apart: a conditioner
    may move one kind much and another little.

    Attributes:
        slope: Around ``∂y/∂x``, positive, of x's shape.
        gradient: ``|∂y/∂h_p|`` at most, shape ``(P, *x.shape)``.
        relative: ``|∂y/∂h_p| / (∂y/∂x)`` at most, likewise: that is ``|∂x/∂h_p|`` at fixed y.
        sizes: How many parameters of each kind there are, P in all.
        gradient_norms: ``‖∂y/∂h‖₂`` over the parameters of each kind, ``(kinds, *x.shape)``.
        relative_norms: Likewise.
    """

    slope: Box
    gradient: Tensor
    relative: Tensor
    sizes: tuple[int, ...]
    gradient_norms: Tensor
    relative_norms: Tensor

    def coupling_bounds(self, lipschitz: Lipschitz) -> BiLipschitz:
        """Of a coupling, whose Jacobian is ``J = [[I, 0], [C, D]]`` with D the slopes.

        ``C = G J_h``, where each row of G has the derivatives of one element by its own
        parameters, so ``‖G‖ = max ‖∂y/∂h‖``; and ``D⁻¹C`` has ``∂y/∂h`` over the slope instead.
        """
        forward = shear_norm(self._cross(self.gradient_norms, lipschitz), largest(self.slope.upper))
        back = self._cross(self.relative_norms, lipschitz)
        return BiLipschitz(forward, shear_norm(back, largest(self.slope.lower.reciprocal())))

    def _cross(self, norms: Tensor, lipschitz: Lipschitz) -> float:
        """``‖C‖``: of all outputs at once, or kind by kind, whichever is less."""
        everything = lipschitz(slice(None))
        if everything == 0:
            return 0.0
        together = largest(torch.linalg.vector_norm(norms, dim=0)) * everything
        channels = self.slope.lower.shape[0]
        ends = pairwise(accumulate(self.sizes, initial=0))
        apart = [
            largest(norm) * lipschitz(slice(start * channels, end * channels))
            for norm, (start, end) in zip(norms, ends, strict=True)
        ]
        return min(together, sum(apart))

    def image(self, function: Map, x: Box, h: Box) -> Box:
        """By the mean value theorem: what T gives at the centres, and what radii can add to it."""
        centre_x, radius_x = _centred(x)
        centre_h, radius_h = _centred(h)
        middle = function(centre_x.unsqueeze(0), centre_h.unsqueeze(0))[0].squeeze(0)
        moved = (self.gradient * radius_h.reshape(self.gradient.shape)).sum(0)
        spread = self.slope.upper * radius_x + moved
        return Box(middle - spread, middle + spread)


def norms(rates: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The norms over the parameters of each kind: ``(P, …) → (kinds, …)``."""
    return torch.stack(
        [torch.linalg.vector_norm(one, dim=0) for one in torch.split(rates, list(sizes))]
    )


def intersection(box: Box, other: Box) -> Box:
    """What is in both; of an end that one of them lost, as ``∞ - ∞`` is, the other's."""
    return Box(torch.fmax(box.lower, other.lower), torch.fmin(box.upper, other.upper))


def _centred(box: Box) -> tuple[Tensor, Tensor]:
    return (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
