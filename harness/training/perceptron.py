"""Multi-layer perceptrons of S networks, with a gradient written by hand.

``B`` inputs a network, ``I`` and ``O`` features in and out.
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


class _Linear:
    """``x Wᵀ + b``: ``(S, B, I) → (S, B, O)``, for W ``(S, O, I)`` and b ``(S, O)``."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        # Views made once, not at each step: the optimizer changes the tensors where they lie.
        self._weight = weight.detach()
        self._transposed, self._bias = self._weight.transpose(1, 2), bias.detach().unsqueeze(1)
        # With one input a batched matrix product takes seven times as long as the outer product.
        self._one_input = weight.shape[2] == 1

    def forward(self, x: Tensor) -> Tensor:
        product = torch.addcmul if self._one_input else torch.baddbmm
        return product(self._bias, x, self._transposed)

    def gradients(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x, W and b, given that of the output."""
        if self._one_input:
            by_x = torch.linalg.vecdot(gradient, self._transposed).unsqueeze(2)
            by_weight = torch.bmm(x.transpose(1, 2), gradient).transpose(1, 2)
        else:
            by_x = torch.bmm(gradient, self._weight)
            by_weight = torch.bmm(gradient.transpose(1, 2), x)
        return by_x, by_weight, gradient.sum(1)


class Perceptron:
    """S perceptrons with SiLU between the layers, ``(S, B, I) → (S, B, O)``, and their gradient.

    Args:
        layers: Weight ``(S, O, I)`` and bias ``(S, O)`` of each. They are used where they lie.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.size = len(layers[0][0])
        self.parameters = tuple(tensor for layer in layers for tensor in layer)
        self._layers = [_Linear(*layer) for layer in layers]

    def forward(self, x: Tensor) -> list[Tensor]:
        """What goes into each layer and what comes out; the last is the output."""
        path = [x]
        for layer in self._layers:
            if len(path) > 1:
                path.append(F.silu(path[-1]))
            path.append(layer.forward(path[-1]))
        return path

    def gradients(self, path: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Gradients of the input and of the parameters in turn, given that of the output."""
        found: list[Tensor] = []
        for number in reversed(range(len(self._layers))):
            gradient, *ours = self._layers[number].gradients(path[2 * number], gradient)
            found = ours + found
            if number:
                gradient = torch.ops.aten.silu_backward(gradient, path[2 * number - 1])
        return gradient, found


class _Perceptron(Function):
    @staticmethod
    def forward(ctx: Any, perceptron: Perceptron, x: Tensor, *parameters: Tensor) -> Tensor:
        *path, y = perceptron.forward(x)
        ctx.perceptron = perceptron
        ctx.save_for_backward(*path)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_x, found = ctx.perceptron.gradients(ctx.saved_tensors, gradient)
        return None, by_x, *found


class BatchedPerceptron(nn.Module):
    """A :class:`Perceptron` as a module, ``(S·B, I) → (S·B, O)``."""

    def __init__(self, perceptron: Perceptron) -> None:
        super().__init__()
        self.perceptron = perceptron

    def forward(self, x: Tensor) -> Tensor:
        network = self.perceptron
        found: Tensor = _Perceptron.apply(  # type: ignore[no-untyped-call]
            network, apart(x, network.size), *network.parameters
        )
        return found.flatten(0, 1)
