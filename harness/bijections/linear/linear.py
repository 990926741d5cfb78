"""Invertible linear maps over channels with a general W: factorised, and as it is."""

import torch
from torch import Tensor, nn

from harness.bijections.linear.over_channels import (
    LinearOverChannels,
    check_dtype,
    check_input,
    random_rotation,
)


class PlainLinear(LinearOverChannels):
    """``y = W x`` over dimension 1 with W itself as the parameter (arXiv 1807.03039).

    Nothing keeps W invertible: near a singular one the inverse explodes, and at a singular one the
    log-det is ``-inf`` and the inverse not finite. ``log |det W|`` comes from ``slogdet``, for a
    determinant of many channels over- or underflows. W starts as a random rotation.

    Args:
        channels: Size of dimension 1.
        generator: Draws the rotation.
    """

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__(channels)
        self.matrix = nn.Parameter(random_rotation(channels, generator))

    def weight(self) -> Tensor:
        return self.matrix

    def log_det_of_weight(self) -> Tensor:
        log_det: Tensor = torch.linalg.slogdet(self.matrix).logabsdet
        return log_det

    def solve(self, columns: Tensor) -> Tensor:
        # `solve` raises where W is singular; this gives numbers that are not finite.
        solved: Tensor = torch.linalg.solve_ex(self.matrix, columns).result
        return solved


class LULinear(LinearOverChannels):
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
        super().__init__(channels)
        permutation, lower, upper = torch.linalg.lu(random_rotation(channels, generator))
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

    def log_det_of_weight(self) -> Tensor:
        return self.log_s.sum()

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, y, self.channels)
        check_dtype(self, y, self.log_s)
        lower, upper = self._factors()
        columns = y.flatten(2) if y.ndim > 2 else y.T
        columns = self.permutation.T @ columns
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(upper, columns, upper=True)
        x = columns.reshape(y.shape) if y.ndim > 2 else columns.T
        return x, -self._log_det(y)
