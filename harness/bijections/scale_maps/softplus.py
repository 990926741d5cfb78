"""Softplus with a floor: grows no faster than h, and stays away from zero."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.given import check_within
from harness.bijections.scale_maps.base import ScaleMap
from harness.registry import entry


class Softplus(ScaleMap):
    """``g(h) = floor + log(1 + exp(h + c))`` in (floor, ∞), with c such that ``g(0) = 1``.

    With ``z = h + c`` and ``p = σ(z)``, ``g' = p`` rises, and ``(log g)' = p / g`` is largest where
    ``g = p / (1 - p) = e^z``.

    Raises:
        ValueError: ``floor`` is not within (0, 1): without one nothing bounds the inverse, and at 1
            no c has ``g(0) = 1``.
    """

    upper, steepest = math.inf, math.inf

    def __init__(self, floor: float) -> None:
        check_within("Softplus", 0, 1, floor=floor)
        self.floor = self.lower = floor
        self.offset = math.log(math.expm1(1 - floor))
        self.steepest_log = _crossing(floor) - self.offset

    def value(self, h: Tensor) -> Tensor:
        # Not F.softplus: above 20 that is the identity, and its error shows in float64.
        return torch.logaddexp(h + self.offset, torch.zeros_like(h)) + self.floor

    def log(self, h: Tensor) -> Tensor:
        return self.value(h).log()

    def slope(self, h: Tensor) -> Tensor:
        return torch.sigmoid(h + self.offset)

    def log_slope(self, h: Tensor) -> Tensor:
        return self.slope(h) / self.value(h)


def _crossing(floor: float) -> float:
    """The z with ``floor + log(1 + e^z) = e^z``, by bisection: their difference falls in z."""
    low, high = -40.0, 2.0
    for _ in range(100):
        middle = (low + high) / 2
        above = floor + math.log1p(math.exp(middle)) > math.exp(middle)
        low, high = (middle, high) if above else (low, middle)
    return low


@entry(version=1)
def softplus(*, floor: Annotated[float, Field(ge=1e-6, lt=1)] = 0.01) -> ScaleMap:
    """A floor plus the softplus of h, in (floor, ∞): a bounded inverse, a slow growth."""
    return Softplus(floor)
