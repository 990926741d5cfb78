"""The density loss as a regularizer of another task."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.likelihood import log_likelihood
from harness.registry import Combination, entry
from harness.regularizers.base import Regularizer


@dataclass(frozen=True)
class NormalizingFlow:
    """See :func:`normalizing_flow`."""

    weight: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``-mean_b log p(x)`` in nats an input."""
        return -log_likelihood(flow, x).mean()


def _refuses(combination: Combination) -> str | None:
    if combination.task.name != "density":
        return None
    return "the normalizing-flow regularizer is the density loss itself: choose another for density"


@entry(version=1, refuses=_refuses)
def normalizing_flow(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-4,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Negative log-likelihood added to another task's loss (arXiv 2006.09347).

    ``log |det J| = Σ log σ_i`` rewards large singular values, the latent's prior punishes large
    outputs: together they bound both Lipschitz constants on the data. Cost of a step with it,
    beside the loss's three passes: a pass there, and backward through it.
    """
    return NormalizingFlow(weight, every)
