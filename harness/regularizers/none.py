"""No regularizer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.registry import entry
from harness.regularizers.base import Regularizer


@dataclass(frozen=True)
class NoPenalty:
    """Nothing is added."""

    weight: float = 0.0
    every: int = 1

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """Zero."""
        return x.new_zeros(())


@entry(version=1)
def none() -> Regularizer:
    """Nothing is added to the loss."""
    return NoPenalty()
