"""Rings around one another."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.datasets.base import Dataset, Splits
from harness.registry import entry
from harness.seeding import generator


def _draw(count: int, deviation: float, source: torch.Generator) -> Tensor:
    angle = torch.rand(count, generator=source) * (2 * math.pi)
    radius = 0.75 * torch.randint(1, 5, (count,), generator=source)
    circle = radius.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], dim=1)
    return circle + deviation * torch.randn(count, 2, generator=source)


@entry(version=1)
def rings(
    *,
    size: Annotated[int, Field(ge=10, le=10_000_000)] = 20_000,
    deviation: Annotated[float, Field(gt=0, le=1)] = 0.08,
) -> Dataset:
    """Four circles of radius 3/4, 3/2, 9/4 and 3, equally likely, and Gaussian noise.

    Rings have holes, and a Gaussian has none: no bijection between them is well conditioned
    (arXiv 1909.13833).
    """

    def read() -> Splits:
        source = generator(0, "rings")
        return Splits(_draw(size, deviation, source), _draw(size // 10, deviation, source))

    return Dataset("rings", (2,), -4.0, 4.0, "generated", "Apache-2.0", read)
