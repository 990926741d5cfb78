"""Bi-directional finite differences, as they were published."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection
from harness.registry import entry
from harness.regularizers.base import Regularizer
from harness.regularizers.network import refuses_one_way


def batch_directions(like: Tensor, generator: torch.Generator) -> Tensor:
    """Directions of length 1 over the batch for each entry: of length √(D/B) for each sample."""
    d = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    directions: Tensor = (d / d.norm(dim=0)).to(like.device, like.dtype)
    return directions


@dataclass(frozen=True)
class PublishedFiniteDifference:
    """See :func:`published_finite_difference`."""

    weight: float
    step: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """D of x's shape, and of the flattened latent's."""
        return batch_directions(x, generator), batch_directions(x.flatten(1), generator)

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``Σ_b ‖F(x + εd) - F(x)‖² / ε + Σ_b ‖F⁻¹(F(x) + εd') - x‖² / ε``."""
        there, back = drawn
        z, _ = flow(x)
        moved, _ = flow(x + self.step * there)
        returned, _ = flow.inverse(z + self.step * back.reshape(z.shape))
        squared: Tensor = ((moved - z) ** 2).sum() + ((returned - x) ** 2).sum()
        return squared / self.step


@entry(version=1, refuses=refuses_one_way, uses=("forward", "inverse"))
def published_finite_difference(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-4,
    step: Annotated[float, Field(gt=0)] = 0.1,
    every: Annotated[int, Field(ge=1)] = 10,
) -> Regularizer:
    """Finite differences in the scaling of the published code (arXiv 2006.09347), to compare with.

    Directions are normalised over the batch, and the squares summed over it and divided by ε: of
    ``‖J‖_F²/D`` it is ``ε D`` times, by entries of length √(D/B), and grows with D and not with
    the batch. Where the inverse overflows the penalty does, too, and the step is lost. Use
    ``finite_difference``, whose cost this has.
    """
    return PublishedFiniteDifference(weight, step, every)
