"""Finite differences that go on where the inverse has begun to overflow."""

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
class RobustFiniteDifference:
    """See :func:`robust_finite_difference`."""

    weight: float
    step: float
    every: int
    forward: bool

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """V of x's shape, and w of the flattened latent's."""
        return unit_directions(x, generator), unit_directions(x.flatten(1), generator)

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``mean_b log(1 + ‖F⁻¹(z + εw) - F⁻¹(z)‖² / ε²)``, and likewise forward if wanted."""
        v, w = drawn
        z, _ = flow(x)
        aside = z + self.step * w.reshape(z.shape)
        with torch.no_grad():
            returned, _ = flow.inverse(aside)
            size = sum_per_sample(returned**2)
            kept = size < LARGEST * (1 + sum_per_sample(x**2))
            # What would overflow is left out of the mean, and the latent that comes back best is
            # looked at in its place. To leave it out afterwards would be too late: 0 · inf is a
            # gradient of NaN. The origin stands in where none comes back.
            best = torch.where(size.isnan(), torch.inf, size).argmin().view(1)
            instead = torch.where(kept.any(), aside.index_select(0, best), 0.0)
        chosen = kept.view(-1, *[1] * (z.ndim - 1))
        returned, _ = flow.inverse(torch.where(chosen, aside, instead))
        gain = sum_per_sample((returned - x) ** 2) / self.step**2
        penalty = torch.where(kept, gain.log1p(), 0.0)
        if self.forward:
            moved, _ = flow(x + self.step * v)
            penalty = penalty + (sum_per_sample((moved - z) ** 2) / self.step**2).log1p()
        return penalty.mean()


LARGEST = 1e12
"""How many times as large as its input squared what comes back may be."""


@entry(version=1, refuses=refuses_one_way, uses=("forward", "inverse"))
def robust_finite_difference(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-2,
    step: Annotated[float, Field(gt=0)] = 1e-2,
    every: Annotated[int, Field(ge=1)] = 2,
    forward: bool = False,
) -> Regularizer:
    """The logarithm of the gain, sample by sample: its gradient is bounded where the gain is not.

    ``E log(1 + ‖J⁻¹ w‖²)`` by differences of length ``step``, w uniform on the sphere; with
    ``forward`` also ``E log(1 + ‖J v‖²)``. A sample that does not come back, by far, is left out
    of this step's penalty, and touches no other sample's. ``finite_difference`` penalises the gain
    itself: one sample of a large one is all of its gradient, and one that overflows takes the
    whole step along (docs/decisions/robust-finite-difference.md). Cost of a step with it, beside
    the loss's three passes: a pass forward and one back twice, and backward through them.
    """
    return RobustFiniteDifference(weight, step, every, forward)
