"""What a residual block asks of its network g."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from harness.bijections.residual.lipschitz_layers import Shape

Tangent = Callable[[Tensor], Tensor]
"""``v ↦ J_g(x) v`` of tangents ``(…, B, *shape)``, for an x that is settled.

A batch of one tangent each is that of every x."""

IN_CACHE = 256
"""Tangents of images that a processor carries at a time: thousands fall out of its cache between
two layers, and convolutions then take two to three times as long."""


class Contraction(nn.Module):
    """``g`` with ``Lip(g) < 1``, of inputs and outputs ``(B, *shape)``.

    The normalised weights are an argument, so that an iteration normalises them once.

    Attributes:
        shape: Of an input, without the batch.
    """

    shape: Shape

    def weights(self) -> list[Tensor]:
        """The normalised weights."""
        raise NotImplementedError

    def linearize(
        self, x: Tensor, weights: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tangent]:
        """``g(x)`` and the linear map ``J_g(x)``, both differentiable by x and the weights."""
        raise NotImplementedError

    def lipschitz(self) -> float:
        """An upper bound of ``Lip(g)`` from the present weights, in float64."""
        raise NotImplementedError

    def forward(self, x: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        """``g(x)``."""
        return self.linearize(x, weights)[0]

    def value_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``g(x)`` and ``J_g(x)``, shapes ``(B, *shape)`` and ``(B, D, D)``."""
        weights, at_a_time = self.weights(), max(1, len(x))
        if len(self.shape) == 3 and x.device.type == "cpu":
            at_a_time = max(1, IN_CACHE // math.prod(self.shape))
        parts = [self._linearized(some, weights) for some in torch.split(x, at_a_time)]
        values, jacobians = zip(*parts, strict=True)
        return torch.cat(values), torch.cat(jacobians)

    def _linearized(self, x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        value, tangent = self.linearize(x, weights)
        size = math.prod(self.shape)
        basis = torch.eye(size, dtype=x.dtype, device=x.device).view(size, 1, *x.shape[1:])
        columns = tangent(basis)
        return value, columns.flatten(2).permute(1, 2, 0)

    def value_and_core(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``g(x)`` and a square matrix K with ``det(I + K) = det(I + J_g(x))``."""
        return self.value_and_jacobian(x)
