"""Linear maps over channels that are parametrised by a decomposition with orthogonal factors."""

import math

import torch
from torch import Tensor, nn

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.orthogonal import reflection_vectors
from harness.bijections.linear.over_channels import LinearOverChannels, reciprocal_range
from harness.bijections.linear.rotations import householder_product
from harness.bijections.scale_maps import ScaleMap
from harness.bijections.spectral import singular_range


class QRLinear(LinearOverChannels):
    """``W = Q R``: Q orthogonal, R upper triangular with the diagonal ``exp(log_r)``.

    ``log |det W| = Σ log_r``. Q is a product of reflections; R starts as the identity. Used for
    flows by Hoogeboom et al. 2019, arXiv 1901.11137.

    Args:
        channels: Size of dimension 1.
        generator: Draws the reflections.
    """

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__(channels)
        self.vectors = nn.Parameter(reflection_vectors(channels, generator))
        self.log_r = nn.Parameter(torch.zeros(channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))

    def _triangle(self) -> Tensor:
        return self.upper.triu(1) + torch.diag(self.log_r.exp())

    def weight(self) -> Tensor:
        return householder_product(self.vectors) @ self._triangle()

    def log_det_of_weight(self) -> Tensor:
        return self.log_r.sum()

    def solve(self, columns: Tensor) -> Tensor:
        columns = householder_product(self.vectors).T @ columns
        solved: Tensor = torch.linalg.solve_triangular(self._triangle(), columns, upper=True)
        return solved

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``σ_max(R)`` and ``1 / σ_min(R)``, by SVD in float64: Q changes no length. Tight."""
        if not self.is_finite():
            return reciprocal_range(math.inf, 0.0)
        upper, log_r = self.upper.detach().double(), self.log_r.detach().double()
        exact = reciprocal_range(*singular_range(upper.triu(1) + torch.diag(log_r.exp())))
        return self.as_used(exact)


class SVDLinear(LinearOverChannels):
    """``W = U diag(g(h)) Vᵀ``: U and V orthogonal, singular values by a scale map g.

    ``log |det W| = Σ log g(h)``. The range of g bounds both constants whatever the weights are.
    U and V are products of reflections; h starts at 0. Zhang et al. 2018, arXiv 1803.09327.

    Args:
        channels: Size of dimension 1.
        generator: Draws the reflections.
        scale: g.
    """

    def __init__(self, channels: int, generator: torch.Generator, scale: ScaleMap) -> None:
        super().__init__(channels)
        self.left = nn.Parameter(reflection_vectors(channels, generator))
        self.right = nn.Parameter(reflection_vectors(channels, generator))
        self.raw = nn.Parameter(torch.zeros(channels))
        self.scale = scale

    def weight(self) -> Tensor:
        left, right = householder_product(self.left), householder_product(self.right)
        return (left * self.scale.value(self.raw)) @ right.T

    def log_det_of_weight(self) -> Tensor:
        return self.scale.log(self.raw).sum()

    def solve(self, columns: Tensor) -> Tensor:
        left, right = householder_product(self.left), householder_product(self.right)
        return (right * self.scale.reciprocal(self.raw)) @ (left.T @ columns)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``max g(h)`` and ``1 / min g(h)``: these are the singular values. Tight."""
        raw = self.raw.detach().double()
        if not self.is_finite():
            return reciprocal_range(math.inf, 0.0)
        values = self.scale.value(raw)
        return self.as_used(reciprocal_range(float(values.max()), float(values.min())))
