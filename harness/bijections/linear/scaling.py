"""Diagonal scaling that cannot come near zero."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.over_channels import check_channels, check_dtype, check_input


class Scaling(Bijection):
    """``y = d · x`` per channel with ``d = floor + softplus(h) > floor``.

    ``log |det J| = H · W · Σ log d``. The inverse has the constant ``1 / floor`` at most, whatever
    the weights are; ActNorm's has none. There is no sign: d starts at 1, and no path of training
    leads through 0.

    Args:
        channels: Size of dimension 1.
        floor: Below which no ``d`` comes.

    Raises:
        ValueError: ``channels`` is below 1, or ``floor`` not within (0, 1); in a call, the input
            has another dimension 1 or another dtype.
    """

    is_affine = True

    def __init__(self, channels: int, floor: float = 0.1) -> None:
        super().__init__()
        check_channels(self, channels)
        if not 0 < floor < 1:
            raise ValueError(f"Scaling: floor must be within (0, 1), not {floor}")
        self.floor = floor
        self.raw = nn.Parameter(torch.full((channels,), math.log(math.expm1(1 - floor))))

    def scale(self) -> Tensor:
        """``d``, shape ``(C,)``."""
        return self.floor + F.softplus(self.raw)

    def _log_det(self, x: Tensor, scale: Tensor) -> Tensor:
        return (scale.log().sum() * math.prod(x.shape[2:])).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x, len(self.raw))
        check_dtype(self, x, self.raw)
        scale = self.scale()
        return x * along_channels(scale, x), self._log_det(x, scale)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, y, len(self.raw))
        check_dtype(self, y, self.raw)
        scale = self.scale()
        return y / along_channels(scale, y), -self._log_det(y, scale)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``max d`` and ``1 / min d``: a diagonal map, tight, on any box."""
        return diagonal_bounds(self.floor + F.softplus(self.raw.detach().double()))

    def image(self, box: Box) -> Box:
        scale = self.scale().detach().double()
        return box.each(lambda x: x * along_channels(scale, x))

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.scale().expand(len(x), -1)


def along_channels(parameter: Tensor, x: Tensor) -> Tensor:
    """A parameter ``(C,)`` beside an input ``(B, C, …)``."""
    return parameter.reshape(-1, *[1] * (x.ndim - 2)) if x.ndim > 2 else parameter


def diagonal_bounds(scale: Tensor) -> BiLipschitz:
    """``max |d|`` and ``1 / min |d|``; inf if d is not finite."""
    if not scale.isfinite().all():
        return BiLipschitz(math.inf, math.inf)
    largest, smallest = float(scale.abs().max()), float(scale.abs().min())
    return BiLipschitz(largest, 1 / smallest if smallest > 0 else math.inf)
