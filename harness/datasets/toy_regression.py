"""A target that no invertible map reaches."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.datasets.base import Dataset, Splits
from harness.registry import entry
from harness.seeding import generator


def _targets(x: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(x[:, 0]), x[:, 1]], dim=1)


@entry(version=1)
def toy_regression(*, size: Annotated[int, Field(ge=10, le=10_000_000)] = 20_000) -> Dataset:
    """``x ~ N(0, I)`` in the plane, with the target ``y = (0, x₂)``, as in arXiv 2006.09347.

    An invertible map comes as near to it as it likes, and the nearer, the larger its inverse.
    There the 0 is noise of standard deviation 1e-12. ``size`` points for training, a tenth of it
    for test, drawn once for all seeds.
    """

    def read() -> Splits:
        source = generator(0, "toy_regression")
        train, test = (torch.randn(count, 2, generator=source) for count in (size, size // 10))
        return Splits(train, test, _targets(train), _targets(test))

    return Dataset(
        *("toy_regression", (2,), -3.0, 3.0, "generated", "Apache-2.0", read), target_dimensions=2
    )
