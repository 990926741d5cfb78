"""A hinge on the gain of the inverse."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, sum_per_sample
from harness.registry import entry
from harness.regularizers.base import Regularizer
from harness.regularizers.directions import pulled_back, unit_directions
from harness.regularizers.network import refuses_iterations


@dataclass(frozen=True)
class InverseGain:
    """See :func:`inverse_gain`."""

    weight: float
    most: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """W of x's shape."""
        return (unit_directions(x, generator),)

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``mean_b max(0, log ‖J_F⁻¹(z)ᵀ w‖ - log most)²`` at z = F(x)."""
        (w,) = drawn
        z, _ = flow(x)
        product = pulled_back(lambda z: flow.inverse(z)[0], z, w)
        squared = sum_per_sample(product**2)
        # Below, the hinge is at rest: the gradient of a logarithm at 0 is kept out of it.
        gain = squared.clamp_min(self.most**2).log() / 2
        return ((gain - math.log(self.most)) ** 2).mean()


@entry(version=1, refuses=refuses_iterations, uses=("forward", "inverse"), needs_graph=True)
def inverse_gain(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-2,
    most: Annotated[float, Field(gt=0)] = 3.0,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """A hinge on the inverse gain: nothing is asked of a network whose inverse is tame.

    ``‖J_F⁻¹ᵀ w‖`` with w uniform on the sphere is ``‖J_F⁻¹‖_F / √D`` in the root mean square; above
    ``most`` the square of its logarithm's excess is penalised, so that the gradient is bounded by
    the logarithm of the gain. Cost of a step with it, beside the loss's three passes: a pass, and
    one back, one backward, and backward through both.
    """
    return InverseGain(weight, most, every)
