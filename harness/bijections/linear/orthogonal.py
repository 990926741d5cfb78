"""Orthogonal maps over channels: both constants are 1, and stay so while they train.

W is computed from its parameters at each call, so no step of an optimiser can leave the orthogonal
matrices. A W that is projected from time to time has left them in between, while its transpose is
still taken for its inverse.
"""

import math

import torch
from torch import Tensor, nn

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.over_channels import LinearOverChannels
from harness.bijections.linear.rotations import cayley, exponential, householder_product


class Orthogonal(LinearOverChannels):
    """``y = W x`` over dimension 1 with ``WᵀW = I``: log-det 0, inverse ``Wᵀ``."""

    def log_det_of_weight(self) -> Tensor:
        return next(self.parameters()).new_zeros(())

    def solve(self, columns: Tensor) -> Tensor:
        return self.weight().T @ columns

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """1 and 1: an orthogonal map is an isometry. In float32, some ε more, as W is rounded."""
        if not self.is_finite():
            return BiLipschitz(math.inf, math.inf)
        return self.as_used(BiLipschitz(1.0, 1.0))


class Householder(Orthogonal):
    """A product of reflections ``I - 2 v vᵀ / ‖v‖²`` (arXiv 1611.09630).

    Args:
        channels: Size of dimension 1.
        generator: Draws the vectors, Gaussian.
        reflections: How many; ``None`` for as many as channels.

    Raises:
        ValueError: ``channels`` or ``reflections`` is below 1.
    """

    def __init__(
        self, channels: int, generator: torch.Generator, reflections: int | None = None
    ) -> None:
        super().__init__(channels)
        self.vectors = nn.Parameter(reflection_vectors(channels, generator, reflections))

    def weight(self) -> Tensor:
        return householder_product(self.vectors)


class Cayley(Orthogonal):
    """``W = (I + A)⁻¹ (I - A)`` with A skew: :func:`~harness.bijections.linear.rotations.cayley`.

    Args:
        channels: Size of dimension 1.
        generator: Draws A with a standard deviation of ``1 / √C``: angles up to some 2 arctan 2.
    """

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__(channels)
        self.free = nn.Parameter(_gaussian_below_diagonal(channels, generator))

    def weight(self) -> Tensor:
        return cayley(self.free)


class MatrixExponential(Orthogonal):
    """``W = exp(A)`` with A skew: :func:`~harness.bijections.linear.rotations.exponential`.

    Args:
        channels: Size of dimension 1.
        generator: Draws A with a standard deviation of ``π / 2√C``: angles up to some π.
    """

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__(channels)
        self.free = nn.Parameter(math.pi / 2 * _gaussian_below_diagonal(channels, generator))

    def weight(self) -> Tensor:
        return exponential(self.free)


def reflection_vectors(
    channels: int, generator: torch.Generator, reflections: int | None = None
) -> Tensor:
    """Gaussian vectors for :func:`~harness.bijections.linear.rotations.householder_product`.

    Raises:
        ValueError: ``reflections`` is below 1.
    """
    count = channels if reflections is None else reflections
    if count < 1:
        raise ValueError(f"Householder: reflections must be at least 1, not {count}")
    return torch.randn(channels, count, generator=generator)


def _gaussian_below_diagonal(channels: int, generator: torch.Generator) -> Tensor:
    return torch.randn(channels, channels, generator=generator).tril(-1) / math.sqrt(channels)
