"""The regions in which a worst point is looked for."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.bijections.box import Box

RegionName = Literal["box", "ball"]


@dataclass(frozen=True)
class Region:
    """All x in a box, or in the ball around it: of its centre, with half its diagonal as radius.

    Attributes:
        name: ``box`` or ``ball``.
        box: Its ends are finite; one that is flat in an entry leaves that entry alone.
    """

    name: RegionName
    box: Box

    @classmethod
    def around(cls, name: RegionName, box: Box, times: float) -> "Region":
        """With every side of a box made so many times as long, around its centre."""
        centre, half = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
        if times == 1:  # to the last bit
            return cls(name, box)
        return cls(name, Box(centre - times * half, centre + times * half))

    @property
    def centre(self) -> Tensor:
        """Its middle, ``(*shape)``."""
        return (self.box.lower + self.box.upper) / 2

    @property
    def half(self) -> Tensor:
        """Half of every side of the box, ``(*shape)``."""
        return (self.box.upper - self.box.lower) / 2

    @property
    def radius(self) -> float:
        """Of the ball."""
        return float(self.half.norm())

    def around_it(self) -> Box:
        """The box itself, or the least one around the ball."""
        if self.name == "box":
            return self.box
        return Box(self.centre - self.radius, self.centre + self.radius)

    def nearest(self, x: Tensor) -> Tensor:
        """The point of the region nearest to each of ``(B, *shape)``."""
        if self.name == "box":
            return x.clamp(self.box.lower, self.box.upper)
        away = x - self.centre
        # A length that overflows would bring every entry to 0, and NaN stays what it is.
        length = _per_sample(away.flatten(1).norm(dim=1), x)
        return self.centre + away * (self.radius / length).clamp(max=1)

    def anywhere(self, count: int, generator: torch.Generator) -> Tensor:
        """Points uniform in the region, float64 ``(count, *shape)``."""
        shape, place = (count, *self.centre.shape), self.centre.device
        if self.name == "box":
            unit = torch.rand(shape, generator=generator, dtype=torch.float64)
            return self.box.lower + (self.box.upper - self.box.lower) * unit.to(place)
        direction = torch.randn(shape, generator=generator, dtype=torch.float64)
        length = torch.rand(count, generator=generator, dtype=torch.float64)
        length = length ** (1 / math.prod(shape[1:])) / direction.flatten(1).norm(dim=1)
        return self.centre + self.radius * (direction * _per_sample(length, direction)).to(place)

    def step(self, x: Tensor, slope: Tensor, length: Tensor) -> Tensor:
        """From x up the slope, then to the nearest point of the region.

        Units are half the sides of the box, so that what an entry is measured in does not matter:
        there the step goes along the gradient, and ``length`` ``(B,)`` is the root mean square
        of what its entries move by. No step where the slope is 0.
        """
        unit = self.half if self.name == "box" else self.half.new_tensor(self.radius)
        scaled = (slope * unit).flatten(1)
        # Divided by the largest first, for squares overflow.
        scaled = scaled / scaled.abs().amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        norm = scaled.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        size = 1.0 if self.name == "ball" else math.sqrt(x[0].numel())
        move = size * length.unsqueeze(1) * scaled / norm
        return self.nearest(x + unit * move.view_as(x))


def _per_sample(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.view(-1, *[1] * (like.ndim - 1))
