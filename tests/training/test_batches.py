"""Batches against those drawn by hand, step by step."""

import pytest
import torch

from harness import registry
from harness.datasets.base import Dataset
from harness.seeding import generator
from harness.training.batches import Batches


@pytest.mark.parametrize("name", registry.names("dataset"))
@pytest.mark.parametrize(("size", "steps"), [(3, 3000), (9000, 3)])
def test_every_member_has_the_batches_that_its_seed_draws(name: str, size: int, steps: int) -> None:
    """More than are drawn ahead, and a batch larger than what is drawn ahead."""
    dataset: Dataset = registry.build("dataset", registry.resolve("dataset", name))
    raw = dataset.read().train
    seeds = [7, 0, 7]
    batches = Batches(dataset, raw, size, seeds)
    orders = [generator(seed, "data order") for seed in seeds]
    noises = [generator(seed, "dequantization") for seed in seeds]
    for _ in range(steps):
        (drawn,) = batches.draw()
        assert drawn.dtype == torch.float32
        for mine, order, noise in zip(drawn, orders, noises, strict=True):
            chosen = torch.randint(len(raw), (size,), generator=order)
            assert torch.equal(mine, dataset.prepare(raw[chosen], noise))
