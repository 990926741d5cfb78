"""A penalty of the spectral norms of conditioners."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.bijections.base import Bijection
from harness.registry import Combination, entry
from harness.regularizers.base import Regularizer
from harness.regularizers.network import ask


@dataclass(frozen=True)
class SpectralNormalization:
    """See :func:`spectral_normalization`."""

    weight: float
    most: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``Σ_W max(0, σ_max(W) - most)²`` over all matrices of conditioners."""
        total = x.new_zeros(())
        for matrix in conditioner_matrices(flow):
            finite = matrix.isfinite().all()
            # LAPACK fails on a matrix that is not finite, and would for all members of a pack.
            norm = torch.linalg.matrix_norm(torch.where(finite, matrix, 0.0), ord=2)
            excess = torch.where(finite, norm - self.most, torch.nan)
            total = total + excess.clamp_min(0) ** 2
        return total


def conditioner_matrices(flow: nn.Module) -> Iterator[Tensor]:
    """The weights of linear and convolutional layers that lie in a conditioner.

    A kernel ``(C', C, k, k)`` as a matrix ``(C', C k²)``: the convolution's norm is at most k times
    as large.
    """
    for module in flow.modules():
        conditioner = getattr(module, "conditioner", None)
        if isinstance(conditioner, nn.Module):
            for layer in conditioner.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    yield layer.weight.flatten(1)


def _has_conditioner(flow: nn.Module) -> bool:
    return any(True for _ in conditioner_matrices(flow))


def _refuses(combination: Combination) -> str | None:
    if ask(_has_conditioner, combination) is not False:
        return None
    name = combination.architecture.name
    return f"spectral_normalization has nothing to penalise: {name} has no conditioner"


@entry(version=1, refuses=_refuses)
def spectral_normalization(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-2,
    most: Annotated[float, Field(gt=0)] = 1.0,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Spectral norms of the conditioners' weights above ``most``: bounds Lip(s) and Lip(t).

    ``Lip`` of a conditioner is at most the product of its layers' norms (arXiv 1802.05957), exact
    here by singular values and not by a power iteration, which never reaches them. It bounds the
    terms Lip(t) and Lip(s) of a coupling's constants and not the scale's own reciprocal: a constant
    s may still be very negative. Cost: no pass, a decomposition of each weight and its derivative.
    """
    return SpectralNormalization(weight, most, every)
