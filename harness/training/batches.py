"""Batches of every member of a pack."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.datasets.base import Dataset
from harness.seeding import generator

AHEAD = 8192
"""How many indices of a member are drawn at once: a draw costs more than its numbers."""


class Batches:
    """Batches drawn with replacement and prepared afresh, on the data's device.

    Every member has its own data order and noise, by its seed; the data itself is there once, and
    batches are gathered from it by index.

    Args:
        dataset: What the data is of.
        raw: The data, on the device where batches are wanted.
        size: Inputs of a member's batch.
        seeds: One for each member.
        targets: One row for each of the data, beside it, where the task learns from them.
    """

    def __init__(
        self,
        dataset: Dataset,
        raw: Tensor,
        size: int,
        seeds: Sequence[int],
        targets: Tensor | None = None,
    ) -> None:
        self.dataset, self.raw, self.size, self.targets = dataset, raw, size, targets
        self._orders = [generator(seed, "data order") for seed in seeds]
        self._noises = [generator(seed, "dequantization") for seed in seeds]
        self._ahead: list[Tensor] = []

    def draw(self) -> tuple[Tensor, ...]:
        """The next batches, ``(S, size, *shape)`` float32, then their targets, if there are any."""
        if not self._ahead:
            shape, device = (max(1, AHEAD // self.size), self.size), self.raw.device
            orders = [torch.randint(len(self.raw), shape, generator=g) for g in self._orders]
            self._ahead = list(torch.stack(orders, dim=1).to(device).unbind()[::-1])
        chosen = self._ahead.pop()
        raw = self.raw[chosen]
        x = self.dataset.dequantize(raw, self._noise(raw)) if self.dataset.levels else raw
        return (x,) if self.targets is None else (x, self.targets[chosen])

    def _noise(self, raw: Tensor) -> Tensor:
        draws = [self.dataset.noise(raw.shape[1:], source) for source in self._noises]
        return torch.stack(draws).to(raw.device)
