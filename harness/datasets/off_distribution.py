"""Inputs that a network was not trained on, made for a dataset's shape and range."""

import torch
from torch import Tensor

from harness.datasets.base import Dataset


def off_distribution(
    dataset: Dataset, test: Tensor, count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Named off-distribution inputs, each ``(count, *shape)`` float32.

    With m the middle and r the half-width of the dataset's nominal range:

    - ``uniform``: every entry uniform on the range;
    - ``gaussian``: every entry ``N(m, r²)``;
    - ``rademacher``: every entry ``m ± r`` with equal odds;
    - ``constant``: all entries of an input equal, from low to high in even steps, shuffled;
    - ``times_10``: test inputs times 10;
    - ``box_100``, ``box_1000``, in two dimensions only: uniform on ``[-100, 100]²`` and so on.

    In two dimensions the first four are not far: half of ``uniform`` lies on the checkerboard's
    squares, and ``rademacher`` has four distinct points. The boxes are what is far there.

    Args:
        dataset: Gives shape and range.
        test: Prepared test inputs.
        count: How many of each; ``times_10`` has no more than there are test inputs.
        generator: Draws them.
    """
    shape = (count, *dataset.shape)
    middle, radius = (dataset.low + dataset.high) / 2, (dataset.high - dataset.low) / 2
    coin = torch.randint(0, 2, shape, generator=generator)
    # Shuffled, so that a probe that takes only the first few sees the whole range.
    steps = torch.linspace(dataset.low, dataset.high, count)
    steps = steps[torch.randperm(count, generator=generator)]
    sets = {
        "uniform": dataset.low + 2 * radius * torch.rand(shape, generator=generator),
        "gaussian": middle + radius * torch.randn(shape, generator=generator),
        "rademacher": middle + radius * (2.0 * coin - 1.0),
        "constant": steps.reshape(-1, *[1] * len(dataset.shape)).expand(shape).clone(),
        "times_10": 10 * test[:count],
    }
    if dataset.shape == (2,):
        for side in (100, 1000):
            sets[f"box_{side}"] = side * (2 * torch.rand(shape, generator=generator) - 1)
    return sets


def off_distribution_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the sets that :func:`off_distribution` makes of a dataset."""
    none = torch.empty(0, *dataset.shape)
    return tuple(off_distribution(dataset, none, 0, torch.Generator()))
