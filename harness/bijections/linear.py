"""Invertible linear maps over channels."""

import math

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.spectral import singular_range


class LULinear(Bijection):
    """``y = W x`` over dimension 1 with ``W = P L (U + diag(s))`` (arXiv 1807.03039).

    L is unit lower triangular, U strictly upper triangular, ``s = sign · exp(log_s)``, P a fixed
    permutation; ``log |det| = H · W · Σ log_s``. W starts as a random rotation. On vectors it is
    a linear layer, on images the 1×1 convolution.

    Args:
        channels: Size of dimension 1.
        generator: Draws the rotation.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        gaussian = torch.randn(channels, channels, generator=generator)
        rotation, _ = torch.linalg.qr(gaussian)
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.log_s = nn.Parameter(diagonal.abs().log())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))

    def _factors(self) -> tuple[Tensor, Tensor]:
        identity = torch.eye(len(self.log_s), dtype=self.log_s.dtype, device=self.log_s.device)
        lower = self.lower.tril(-1) + identity
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())

    def weight(self) -> Tensor:
        """W, shape ``(C, C)``."""
        lower, upper = self._factors()
        return self.permutation @ lower @ upper

    def _log_det(self, x: Tensor) -> Tensor:
        total, pixels = self.log_s.sum(), math.prod(x.shape[2:])
        return (total if pixels == 1 else total * pixels).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = (self.weight() @ x.flatten(2)) if x.ndim > 2 else x @ self.weight().T
        return y.reshape(x.shape), self._log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        columns = y.flatten(2) if y.ndim > 2 else y.T
        columns = self.permutation.T @ columns
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(upper, columns, upper=True)
        x = columns.reshape(y.shape) if y.ndim > 2 else columns.T
        return x, -self._log_det(y)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``‖W‖₂`` and ``‖W⁻¹‖₂`` by singular value decomposition in float64: tight."""
        largest, smallest = singular_range(self.weight())
        return BiLipschitz(largest, 1 / smallest if smallest > 0 else math.inf)

    def image(self, box: Box) -> Box:
        # Of an image, each pixel is a vector of channels.
        columns = box.each(lambda x: x.flatten(2)) if box.lower.ndim > 1 else box
        return columns.linear(self.weight()).each(lambda y: y.reshape(1, *box.lower.shape))
