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


class _Perceptron(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, *parameters: Tensor) -> Tensor:
        before: list[Tensor] = []
        after = [x]
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
            if before:
                after.append(F.silu(before[-1]))
            before.append(_linear(after[-1], weight, bias))
        ctx.save_for_backward(*before[:-1], *after, *parameters[::2])
        return before[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        layers = (len(ctx.saved_tensors) + 1) // 3
        before = ctx.saved_tensors[: layers - 1]
        after = ctx.saved_tensors[layers - 1 : -layers]
        weights = ctx.saved_tensors[-layers:]
        found: list[Tensor] = []
        for number in reversed(range(layers)):
            if number < layers - 1:
                gradient = torch.ops.aten.silu_backward(gradient, before[number])
            gradient, *ours = _linear_gradients(gradient, after[number], weights[number])
            found = ours + found
        return gradient, *found


class BatchedPerceptron(nn.Module):
    """S multi-layer perceptrons with SiLU between the layers, ``(S·B, I) → (S·B, O)``.

    Args:
        layers: Weights ``(S, O, I)`` and biases ``(S, O)``.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._parameters_in_turn = tuple(tensor for layer in layers for tensor in layer)

    def forward(self, x: Tensor) -> Tensor:
        first, *_ = self._parameters_in_turn
        found: Tensor = _Perceptron.apply(  # type: ignore[no-untyped-call]
            apart(x, len(first)), *self._parameters_in_turn
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
        by_log_scale = (by_y * y).sum(others)
        by_log_scale += by_log_det.sum(1, keepdim=True) * math.prod(y.shape[3:])
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
