"""Norms of the Jacobian and of its inverse's."""

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
class Jacobian:
    """See :func:`jacobian`."""

    weight: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """U of the flattened latent's shape, and w of x's."""
        return unit_directions(x.flatten(1), generator), unit_directions(x, generator)

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``mean_b ‖J_F(x)ᵀ u‖² + ‖J_F⁻¹(z)ᵀ w‖²`` at z = F(x).

        The gradient flows through z, too.
        """
        u, w = drawn
        z, _ = flow(x)
        forward = pulled_back(lambda x: flow(x)[0], x, u)
        inverse = pulled_back(lambda z: flow.inverse(z)[0], z, w)
        return (sum_per_sample(forward**2) + sum_per_sample(inverse**2)).mean()


@entry(version=1, refuses=refuses_iterations, uses=("forward", "inverse"), needs_graph=True)
def jacobian(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-3,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Squared Frobenius norms of both Jacobians, over D: what finite differences are for ε → 0.

    ``E ‖J_F‖_F² / D + E ‖J_F⁻¹‖_F² / D``, each by one vector-Jacobian product with a random
    direction; a penalty of both by their norms was in the code of arXiv 2006.09347. No step leads
    off the data, so nothing but the inverse there can overflow. Cost of a step, beside the loss's
    three passes: a pass, and there and back one forward, one backward, and backward through both.
    """
    return Jacobian(weight, every)
