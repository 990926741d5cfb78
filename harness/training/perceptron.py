"""Multi-layer perceptrons of S networks, with a gradient written by hand.

``B`` inputs a network, ``I`` and ``O`` features in and out, ``H`` in between. Inputs and outputs
lie feature by feature, ``(S, I, B)``: of few features a matrix product is several times as fast
in this order, and each feature is a row to what comes next. Between the layers inputs come
first, ``(S, B, H)``, for there the gradient of a weight is the faster product.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def apart(x: Tensor, size: int) -> Tensor:
    """``(S·B, …) → (S, B, …)``."""
    return x.view(size, -1, *x.shape[1:])


def columns(x: Tensor, size: int) -> Tensor:
    """``(S·B, I) → (S, I, B)``."""
    return apart(x, size).transpose(1, 2).contiguous()


def rows(x: Tensor) -> Tensor:
    """``(S, O, B) → (S·B, O)``."""
    return x.transpose(1, 2).flatten(0, 1)


class _Linear:
    """``x Wᵀ + b`` of a weight ``(S, O, I)`` and a bias ``(S, O)``.

    Args:
        weight: Used where it lies.
        bias: Likewise.
        first: Whether its input lies feature by feature.
        last: Likewise for its output.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, first: bool, last: bool) -> None:
        # Views made once, not at each step: the optimizer changes the tensors where they lie.
        self._weight, bias = weight.detach(), bias.detach()
        self._transposed = self._weight.transpose(1, 2)
        self._bias = bias.unsqueeze(2) if last else bias.unsqueeze(1)
        self._first, self._last = first, last
        # With one input a batched matrix product takes several times as long as the outer product.
        self._outer = first and not last and weight.shape[2] == 1

    def forward(self, x: Tensor) -> Tensor:
        if self._last:
            x = x if self._first else x.transpose(1, 2)
            return torch.baddbmm(self._bias, self._weight, x)
        x = x.transpose(1, 2) if self._first else x
        product = torch.addcmul if self._outer else torch.baddbmm
        return product(self._bias, x, self._transposed)

    def gradients(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x, W and b, given that of the output.

        Unless this is the first layer, that of x takes the place of x: memory that was touched
        just now is faster than new memory.
        """
        by_bias = gradient.sum(2 if self._last else 1)
        # As rows (S, B, …) on one side and columns (S, …, B) on the other, whichever it is.
        of_rows = gradient.transpose(1, 2) if self._last else gradient
        of_columns = gradient if self._last else gradient.transpose(1, 2)
        if self._outer:
            by_weight = torch.bmm(x, of_rows).transpose(1, 2)
        else:
            by_weight = torch.bmm(of_columns, x.transpose(1, 2) if self._first else x)
        if self._first:
            return torch.bmm(of_rows, self._weight).transpose(1, 2), by_weight, by_bias
        return torch.bmm(of_rows, self._weight, out=x), by_weight, by_bias


class Perceptron:
    """S perceptrons with SiLU between the layers, ``(S, I, B) → (S, O, B)``, and their gradient.

    Args:
        layers: Weight ``(S, O, I)`` and bias ``(S, O)`` of each. They are used where they lie.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.size = len(layers[0][0])
        self.parameters = tuple(tensor for layer in layers for tensor in layer)
        end = len(layers) - 1
        self._layers = [
            _Linear(*layer, first=number == 0, last=number == end)
            for number, layer in enumerate(layers)
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """What goes into each layer and what comes out; the last is the output."""
        path = [x]
        for layer in self._layers:
            if len(path) > 1:
                path.append(F.silu(path[-1]))
            path.append(layer.forward(path[-1]))
        return path

    def gradients(self, path: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Gradients of the input and of the parameters in turn, given that of the output.

        Uses up the path: what lies between the first input and the output is written over.
        """
        found: list[Tensor] = []
        for number in reversed(range(len(self._layers))):
            gradient, *ours = self._layers[number].gradients(path[2 * number], gradient)
            found = ours + found
            if number:
                before = path[2 * number - 1]
                torch.ops.aten.silu_backward.grad_input(gradient, before, grad_input=gradient)
        return gradient, found


class _Perceptron(Function):
    @staticmethod
    def forward(ctx: Any, perceptron: Perceptron, x: Tensor, *parameters: Tensor) -> Tensor:
        *path, y = perceptron.forward(columns(x, perceptron.size))
        ctx.perceptron = perceptron
        ctx.save_for_backward(*path)
        return rows(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        network = ctx.perceptron
        by_x, found = network.gradients(ctx.saved_tensors, columns(gradient, network.size))
        return None, rows(by_x), *found


class BatchedPerceptron(nn.Module):
    """A :class:`Perceptron` as a module, ``(S·B, I) → (S·B, O)``."""

    def __init__(self, perceptron: Perceptron) -> None:
        super().__init__()
        self.perceptron = perceptron

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _Perceptron.apply(  # type: ignore[no-untyped-call]
            self.perceptron, x, *self.perceptron.parameters
        )
        return found
