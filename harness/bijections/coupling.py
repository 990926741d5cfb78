"""Coupling, written once: a split, a conditioner and an elementwise transformer."""

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz, sum_per_sample
from harness.bijections.networks import Conditioner
from harness.bijections.transformers import Transformer


class Coupling(Bijection):
    """``y_a = x_a``, ``y_b = T(x_b; t(x_a))`` with the split in dimension 1.

    Args:
        first: How many channels (or vector elements) come first.
        transformer: The elementwise map T.
        conditioner: The network t, from the kept part to T's parameters.
        swap: Keep the second part and transform the first, instead of the reverse.
    """

    def __init__(
        self, first: int, transformer: Transformer, conditioner: Conditioner, *, swap: bool = False
    ) -> None:
        super().__init__()
        self.first, self.swap = first, swap
        self.transformer, self.conditioner = transformer, conditioner

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # One split: its gradient is one concatenation, where two slices would each fill a tensor.
        a, b = torch.split(x, [self.first, x.shape[1] - self.first], dim=1)
        return (b, a) if self.swap else (a, b)

    def _join(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([changed, kept] if self.swap else [kept, changed], dim=1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = self._split(x)
        changed, log_derivative = self.transformer(changed, self.conditioner(kept))
        return self._join(kept, changed), sum_per_sample(log_derivative)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = self._split(y)
        changed, log_derivative = self.transformer.inverse(changed, self.conditioner(kept))
        return self._join(kept, changed), sum_per_sample(log_derivative)

    def bounds(self) -> BiLipschitz:
        return self.transformer.coupling_bounds(self.conditioner.lipschitz())
