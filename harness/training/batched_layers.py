"""Layers that hold the weights of S networks and take a batch of S·B.

Each is one node of the graph with a gradient written by hand: small networks are bound by the
number of operations, not by arithmetic. ``B`` inputs a network, ``I`` and ``O`` features in and
out, ``C`` channels.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from harness.bijections.base import Bijection


def apart(x: Tensor, size: int) -> Tensor:
    """``(S·B, …) → (S, B, …)``."""
    return x.view(size, -1, *x.shape[1:])


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x Wᵀ + b``: ``(S, B, I)``, ``(S, O, I)``, ``(S, O)`` to ``(S, B, O)``."""
    # With one input a batched matrix product takes seven times as long as the outer product.
    product = torch.addcmul if weight.shape[2] == 1 else torch.baddbmm
    return product(bias.unsqueeze(1), x, weight.transpose(1, 2))


def _linear_gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, W and b, given the gradient ``(S, B, O)`` of :func:`_linear`."""
    if weight.shape[2] == 1:
        by_x = torch.linalg.vecdot(gradient, weight.transpose(1, 2)).unsqueeze(2)
        by_weight = torch.bmm(x.transpose(1, 2), gradient).transpose(1, 2)
    else:
        by_x = torch.bmm(gradient, weight)
        by_weight = torch.bmm(gradient.transpose(1, 2), x)
    return by_x, by_weight, gradient.sum(1)


class Perceptron:
    """S multi-layer perceptrons with SiLU between the layers, and their gradient.

    Args:
        parameters: Weight ``(S, O, I)`` and bias ``(S, O)`` of the first layer, the second, ….
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._weights, self._biases = parameters[::2], parameters[1::2]

    def forward(self, x: Tensor) -> list[Tensor]:
        """What goes into each layer and what comes out; the last is the output ``(S, B, O)``."""
        path = [x]
        for weight, bias in zip(self._weights, self._biases, strict=True):
            if len(path) > 1:
                path.append(F.silu(path[-1]))
            path.append(_linear(path[-1], weight, bias))
        return path

    def gradients(self, path: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Gradients of the input and of the parameters in turn, given that of the output."""
        found: list[Tensor] = []
        for number in reversed(range(len(self._weights))):
            gradient, *ours = _linear_gradients(gradient, path[2 * number], self._weights[number])
            found = ours + found
            if number:
                gradient = torch.ops.aten.silu_backward(gradient, path[2 * number - 1])
        return gradient, found


class _Perceptron(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, *parameters: Tensor) -> Tensor:
        *path, y = Perceptron(parameters).forward(x)
        ctx.save_for_backward(*path, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        # 2n - 1 tensors of the path and 2n parameters, of n layers.
        middle = len(ctx.saved_tensors) // 2
        path, parameters = ctx.saved_tensors[:middle], ctx.saved_tensors[middle:]
        by_x, found = Perceptron(parameters).gradients(path, gradient)
        return by_x, *found


class BatchedPerceptron(nn.Module):
    """S multi-layer perceptrons with SiLU between the layers, ``(S·B, I) → (S·B, O)``.

    Args:
        layers: Weights ``(S, O, I)`` and biases ``(S, O)``.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.in_turn = tuple(tensor for layer in layers for tensor in layer)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _Perceptron.apply(  # type: ignore[no-untyped-call]
            apart(x, len(self.in_turn[0])), *self.in_turn
        )
        return found.flatten(0, 1)


class _ActNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        along = (len(bias), 1, -1, *[1] * (x.ndim - 3))
        scale = log_scale.exp().view(along)
        y = (x + bias.view(along)).mul_(scale)
        ctx.save_for_backward(y, scale)
        total = log_scale.sum(1, keepdim=True) * math.prod(x.shape[3:])
        return y, total.expand(x.shape[:2]).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_y: Tensor, by_log_det: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, scale = ctx.saved_tensors
        others = [1, *range(3, y.ndim)]
        by_x = by_y * scale
        by_total = by_log_det.sum(1, keepdim=True) * math.prod(y.shape[3:])
        by_log_scale = (by_y * y).sum(others) + by_total
        return by_x, by_x.sum(others), by_log_scale


class BatchedActNorm(Bijection):
    """S activation normalisations, ``(S·B, C, …) → (S·B, C, …)``.

    Args:
        bias: Shape ``(S, C)``.
        log_scale: Likewise.
    """

    def __init__(self, bias: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self._bias, self._log_scale = bias, log_scale

    def _apply_to(self, x: Tensor, bias: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = _ActNorm.apply(  # type: ignore[no-untyped-call]
            apart(x, len(bias)), bias, log_scale
        )
        return y.flatten(0, 1), log_det.flatten()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_to(x, self._bias, self._log_scale)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The forward map with ``-log_scale`` and ``-bias · exp(log_scale)``."""
        bias = -self._bias * self._log_scale.exp()
        return self._apply_to(y, bias, -self._log_scale)


class _Permutation(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse_index: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_index)
        return x.gather(2, index.expand_as(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_y: Tensor) -> tuple[Tensor, None, None]:
        (inverse_index,) = ctx.saved_tensors
        return by_y.gather(2, inverse_index.expand_as(by_y)), None, None


class BatchedPermutation(Bijection):
    """S permutations, ``(S·B, C, …) → (S·B, C, …)``.

    Args:
        index: ``y_i = x_{index_i}``, shape ``(S, C)``.
        inverse_index: Likewise.
    """

    def __init__(self, index: Tensor, inverse_index: Tensor) -> None:
        super().__init__()
        self._indices = index, inverse_index

    def _apply_to(self, x: Tensor, *indices: Tensor) -> tuple[Tensor, Tensor]:
        along = [one.view(len(one), 1, -1, *[1] * (x.ndim - 2)) for one in indices]
        y = _Permutation.apply(  # type: ignore[no-untyped-call]
            apart(x, len(indices[0])), *along
        )
        return y.flatten(0, 1), x.new_zeros(len(x))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_to(x, *self._indices)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_to(y, *reversed(self._indices))
