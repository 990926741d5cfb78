"""Coupling, written once: a split, a conditioner and an elementwise transformer."""

from typing import cast

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz, Convergence, sum_per_sample
from harness.bijections.box import Box
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
        self, first: int, transformer: Transformer, conditioner: nn.Module, *, swap: bool = False
    ) -> None:
        super().__init__()
        self.first, self.swap = first, swap
        self.transformer, self.conditioner = transformer, conditioner

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The part that is kept and the part that is changed."""
        # One split: its gradient is one concatenation, where two slices would each fill a tensor.
        a, b = torch.split(x, [self.first, x.shape[1] - self.first], dim=1)
        return (b, a) if self.swap else (a, b)

    def join(self, kept: Tensor, changed: Tensor) -> Tensor:
        """The inverse of :meth:`split`."""
        return torch.cat([changed, kept] if self.swap else [kept, changed], dim=1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = self.split(x)
        changed, log_derivative = self.transformer(changed, self.conditioner(kept))
        return self.join(kept, changed), sum_per_sample(log_derivative)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = self.split(y)
        changed, log_derivative = self.transformer.inverse(changed, self.conditioner(kept))
        return self.join(kept, changed), sum_per_sample(log_derivative)

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        kept, changed = self.split(y)
        changed, log_derivative, report = self.transformer.inverse_with_convergence(
            changed, self.conditioner(kept)
        )
        return self.join(kept, changed), sum_per_sample(log_derivative), report

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        conditioner = cast(Conditioner, self.conditioner)
        return self.transformer.coupling_bounds(conditioner.lipschitz())
