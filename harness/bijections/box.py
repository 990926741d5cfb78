"""Boxes: what a bound that does not hold everywhere holds on."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Box(NamedTuple):
    """All x with ``lower ≤ x ≤ upper``, entry by entry.

    Attributes:
        lower: Shape of one input, without the batch.
        upper: Likewise.
    """

    lower: Tensor
    upper: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Box":
        """The smallest box around inputs ``(B, …)``, in float64."""
        x = x.detach().double()
        return cls(x.amin(0), x.amax(0))

    @property
    def largest(self) -> Tensor:
        """``max |x|`` of each entry."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    def each(self, function: Callable[[Tensor], Tensor]) -> "Box":
        """The image by a function that rearranges entries, given as a batch of one."""
        lower, upper = (function(end.unsqueeze(0)).squeeze(0) for end in self)
        return Box(lower, upper)

    def increasing(self, function: Callable[[Tensor], Tensor]) -> "Box":
        """The image by an elementwise function that does not decrease."""
        return Box(function(self.lower), function(self.upper))

    def times(self, other: "Box") -> "Box":
        """All products, entry by entry."""
        products = [a * b for a in self for b in other]
        return Box(_least(products), -_least([-one for one in products]))

    def plus(self, other: "Box") -> "Box":
        """All sums, entry by entry."""
        return Box(self.lower + other.lower, self.upper + other.upper)

    def negated(self) -> "Box":
        """All -x."""
        return Box(-self.upper, -self.lower)

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> "Box":
        """The box around ``W x + b`` of a vector: ``W c ± |W| r`` of its centre and radius."""
        weight = weight.detach().to(self.lower.dtype)
        centre, radius = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
        middle, spread = weight @ centre, weight.abs() @ radius
        if bias is not None:
            middle = middle + bias.detach().to(middle.dtype)
        return Box(middle - spread, middle + spread)


def _least(values: list[Tensor]) -> Tensor:
    least = values[0]
    for value in values[1:]:
        least = torch.minimum(least, value)
    return least
