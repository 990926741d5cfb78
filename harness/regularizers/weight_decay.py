"""Weight decay as a penalty."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection
from harness.registry import entry
from harness.regularizers.base import Regularizer


@dataclass(frozen=True)
class WeightDecay:
    """See :func:`weight_decay`."""

    weight: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``½ Σ θ²`` over all parameters."""
        total = x.new_zeros(())
        for parameter in flow.parameters():
            total = total + (parameter**2).sum()
        return total / 2


@entry(version=1)
def weight_decay(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-4,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Half the squared norm of all parameters, added to the loss.

    Its gradient goes through Adam's scaling and the clipping of the whole gradient; the training
    setting ``weight_decay`` is the decoupled one (arXiv 1711.05101), which does not. It bounds no
    Lipschitz constant: a scale g(h) may vanish by small weights. Cost: no pass.
    """
    return WeightDecay(weight, every)
