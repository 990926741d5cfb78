"""Reconstruction error as a training term."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, sum_per_sample
from harness.registry import Combination, entry
from harness.regularizers.base import Regularizer


@dataclass(frozen=True)
class Reconstruction:
    """See :func:`reconstruction`."""

    weight: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``mean_b ‖F⁻¹(F(x)) - x‖²``; the gradient flows through both."""
        back, _ = flow.inverse(flow(x)[0])
        return sum_per_sample((back - x) ** 2).mean()


def _refuses(combination: Combination) -> str | None:
    name = combination.architecture.name
    if registry.get("architecture", name).learns_inverse:
        return None
    return f"reconstruction has nothing to train: the inverse of {name} is no network of its own"


@entry(version=1, refuses=_refuses, uses=("forward", "inverse"))
def reconstruction(
    *,
    weight: Annotated[float, Field(gt=0)] = 100.0,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Squared reconstruction error: trains an inverse that is learned (free-form flows).

    ``E ‖F⁻¹(F(x)) - x‖²``, arXiv 2310.16624. Too small a weight, and the flow folds: its likelihood
    then adds up to more than 1. Where the inverse is F's own, by a formula or by iteration, the
    error is rounding and teaches nothing. Cost of a step with it, beside the loss's three passes: a
    pass there and one back, and backward through both.
    """
    return Reconstruction(weight, every)
