"""Eight Gaussians on a circle."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.datasets.base import Dataset, Splits
from harness.registry import entry
from harness.seeding import generator


def _draw(count: int, deviation: float, source: torch.Generator) -> Tensor:
    angle = torch.randint(0, 8, (count,), generator=source) * (math.pi / 4)
    centre = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centre + deviation * torch.randn(count, 2, generator=source)


@entry(version=1)
def eight_gaussians(
    *,
    size: Annotated[int, Field(ge=10, le=10_000_000)] = 20_000,
    deviation: Annotated[float, Field(gt=0, le=1)] = 0.2,
) -> Dataset:
    """Eight Gaussians on a circle of radius 2: modes that a continuous map must tear apart.

    A flow onto a target of another topology must become ill-conditioned (arXiv 1909.13833).
    """

    def read() -> Splits:
        source = generator(0, "eight_gaussians")
        return Splits(_draw(size, deviation, source), _draw(size // 10, deviation, source))

    return Dataset("eight_gaussians", (2,), -3.0, 3.0, "generated", "Apache-2.0", read)
