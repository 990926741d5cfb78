"""Bi-directional finite differences."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, sum_per_sample
from harness.registry import entry
from harness.regularizers.base import Regularizer
from harness.regularizers.directions import unit_directions
from harness.regularizers.network import refuses_one_way


@dataclass(frozen=True)
class FiniteDifference:
    """See :func:`finite_difference`."""

    weight: float
    step: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """V of x's shape, and w of the flattened latent's."""
        return unit_directions(x, generator), unit_directions(x.flatten(1), generator)

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``mean_b ‖F(x + εv) - F(x)‖² / ε² + ‖F⁻¹(z + εw) - x‖² / ε²``, z = F(x).

        The gradient flows through z and through the inverse.
        """
        v, w = drawn
        z, _ = flow(x)
        moved, _ = flow(x + self.step * v)
        back, _ = flow.inverse(z + self.step * w.reshape(z.shape))
        squared = sum_per_sample((moved - z) ** 2) + sum_per_sample((back - x) ** 2)
        return squared.mean() / self.step**2


@entry(version=1, refuses=refuses_one_way, uses=("forward", "inverse"))
def finite_difference(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-3,
    step: Annotated[float, Field(gt=0)] = 0.1,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Bi-directional finite differences: penalise both local Lipschitz constants on the data.

    ``E ‖Jv‖² + E ‖J⁻¹w‖²`` by differences of length ``step``, one unit direction per sample
    (arXiv 2006.09347; there ε = 0.1). One sample whose inverse overflows takes the whole step
    along: ``robust_finite_difference`` goes on. Cost of a step with it, beside the loss's three
    passes: two passes there and one back, and backward through them, nine in all.
    """
    return FiniteDifference(weight, step, every)
