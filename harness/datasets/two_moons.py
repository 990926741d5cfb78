"""Two half circles that hold each other."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.datasets.base import Dataset, Splits
from harness.registry import entry
from harness.seeding import generator


def _draw(count: int, deviation: float, source: torch.Generator) -> Tensor:
    angle = torch.rand(count, generator=source) * math.pi
    sign = torch.randint(0, 2, (count,), generator=source) * 2 - 1
    moon = sign.unsqueeze(1) * torch.stack([2 * angle.cos() - 1, 2 * angle.sin() - 0.5], dim=1)
    return moon + deviation * torch.randn(count, 2, generator=source)


@entry(version=1)
def two_moons(
    *,
    size: Annotated[int, Field(ge=10, le=10_000_000)] = 20_000,
    deviation: Annotated[float, Field(gt=0, le=1)] = 0.2,
) -> Dataset:
    """Two half circles of radius 2, each with an end in the other's hollow, and Gaussian noise.

    ``±(2 cos a - 1, 2 sin a - 1/2) + deviation · N(0, I)``, the angle a uniform on [0, π] and both
    signs equally likely: the moons of scikit-learn, twice as large and centred at 0. Two parts that
    a straight line cannot part.
    """

    def read() -> Splits:
        source = generator(0, "two_moons")
        return Splits(_draw(size, deviation, source), _draw(size // 10, deviation, source))

    return Dataset("two_moons", (2,), -4.0, 4.0, "generated", "Apache-2.0", read)
