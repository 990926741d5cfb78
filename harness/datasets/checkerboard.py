"""The checkerboard."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.datasets.base import Dataset, Splits
from harness.registry import entry
from harness.seeding import generator


def _draw(count: int, source: torch.Generator) -> Tensor:
    x = torch.rand(count, generator=source) * 4 - 2
    row = torch.randint(0, 2, (count,), generator=source) * 2
    y = torch.rand(count, generator=source) - row + torch.floor(x) % 2
    return torch.stack([x, y], dim=1) * 2


@entry(version=1)
def checkerboard(*, size: Annotated[int, Field(ge=10, le=10_000_000)] = 20_000) -> Dataset:
    """Uniform density on 8 of 16 squares of [-4, 4]², as in arXiv 2006.09347.

    ``size`` points for training, a tenth of it for test, drawn once for all seeds.
    """

    def read() -> Splits:
        source = generator(0, "checkerboard")
        return Splits(_draw(size, source), _draw(size // 10, source))

    return Dataset("checkerboard", (2,), -4.0, 4.0, "generated", "Apache-2.0", read)
