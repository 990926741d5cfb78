"""What an inverse makes of a latent's relative rounding."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, sum_per_sample
from harness.registry import entry
from harness.regularizers.base import Regularizer
from harness.regularizers.network import refuses_one_way


@dataclass(frozen=True)
class SelfConsistency:
    """See :func:`self_consistency`."""

    weight: float
    rounding: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """ξ of the flattened latent's shape, in [-1, 1]."""
        uniform = torch.rand(x.flatten(1).shape, generator=generator, dtype=torch.float64)
        return ((2 * uniform - 1).to(x.device, x.dtype),)

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``mean_b ‖F⁻¹(z (1 + r ξ)) - x‖² / r²`` with z = F(x), r the rounding."""
        (xi,) = drawn
        z, _ = flow(x)
        back, _ = flow.inverse(z * (1 + self.rounding * xi.reshape(z.shape)))
        return sum_per_sample((back - x) ** 2).mean() / self.rounding**2


@entry(version=1, refuses=refuses_one_way, uses=("forward", "inverse"))
def self_consistency(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-3,
    rounding: Annotated[float, Field(gt=0)] = 1e-2,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Forward, then backward from a coarsely rounded latent: is it still the input?

    Where the inverse is F's own, ``F⁻¹(F(x)) - x`` is rounding, whose gradient teaches nothing.
    With each entry of the latent off by up to ``rounding`` of itself it is the reconstruction error
    of an arithmetic of so few digits: ``E ‖J⁻¹ diag(z) ξ‖²`` for a small one, the conditioning
    error of the probe ``reconstruction`` in units of the rounding. Latents near 0 are moved less
    than by ``finite_difference``, which moves all alike. Cost of a step with it, beside the loss's
    three passes: a pass there and one back, and backward through both.
    """
    return SelfConsistency(weight, rounding, every)
