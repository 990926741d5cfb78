"""What a scale map is, and what it does on an interval."""

import math

import torch
from torch import Tensor

from harness.bijections.box import Box


class ScaleMap:
    """An elementwise, positive, increasing function of the conditioner's output.

    Where g' and (log g)' are largest is known of each map: on an interval a function that rises to
    its peak and falls after it is largest at the point of the interval nearest to the peak.

    Attributes:
        lower: ``inf g``.
        upper: ``sup g``.
        steepest: The h up to which g' rises and from which it falls; ±∞ if it does only one.
        steepest_log: Likewise for (log g)'.
    """

    lower: float
    upper: float
    steepest: float
    steepest_log: float

    def value(self, h: Tensor) -> Tensor:
        """``g(h)``."""
        raise NotImplementedError

    def log(self, h: Tensor) -> Tensor:
        """``log g(h)``, computed without forming g where that would lose it."""
        raise NotImplementedError

    def log_slope(self, h: Tensor) -> Tensor:
        """``d log g(h) / dh``."""
        raise NotImplementedError

    def slope(self, h: Tensor) -> Tensor:
        """``g'(h)``."""
        return self.value(h) * self.log_slope(h)

    def reciprocal(self, h: Tensor) -> Tensor:
        """``1 / g(h)``."""
        return self.value(h).reciprocal()

    def value_and_log(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """``(g(h), log g(h))``: for maps that can share what the two have in common."""
        return self.value(h), self.log(h)

    def reciprocal_and_log(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """``(1 / g(h), -log g(h))``, likewise."""
        return self.reciprocal(h), -self.log(h)

    def range_on(self, h: Box) -> Box:
        """``[inf g, sup g]`` on each interval: g increases, so its ends suffice."""
        return Box(
            torch.where(h.lower.isinf(), self.lower, self.value(h.lower)),
            torch.where(h.upper.isinf(), self.upper, self.value(h.upper)),
        )

    def log_range_on(self, h: Box) -> Box:
        """``[inf log g, sup log g]``: where g itself would vanish, its log still has a number."""
        lower = math.log(self.lower) if self.lower > 0 else -math.inf
        return Box(
            torch.where(h.lower.isinf(), lower, self.log(h.lower)),
            torch.where(h.upper.isinf(), math.log(self.upper), self.log(h.upper)),
        )

    def largest_slope(self, h: Box) -> Tensor:
        """``sup g'`` on each interval, of the box's shape."""
        return self.slope(_nearest(self.steepest, h))

    def largest_log_slope(self, h: Box) -> Tensor:
        """``sup (log g)'`` on each interval, likewise."""
        return self.log_slope(_nearest(self.steepest_log, h))


def _nearest(peak: float, h: Box) -> Tensor:
    # Not clamp: that takes a NaN for the peak where only one end is lost.
    return torch.maximum(h.lower, torch.minimum(h.upper, torch.full_like(h.lower, peak)))
