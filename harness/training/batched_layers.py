"""Layers that hold the weights of S networks and take a batch of S·B.

Small networks are bound by the number of operations, not by arithmetic, and autograd adds its own
to each of them. So a run of layers is one node of the graph, and each layer has its gradient
written by hand. ``C`` channels.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from harness.bijections.base import Bijection
from harness.training.perceptron import apart


class Layer(Bijection):
    """A bijection of S networks with a gradient of its own.

    Attributes:
        size: S.
        in_turn: The parameters, in the order of their gradients.
    """

    size: int
    in_turn: tuple[Tensor, ...]

    def advance(self, x: Tensor, log_det: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``F(x)``, and what :meth:`gradients` takes; the log-det is added to ``(S, B)``."""
        raise NotImplementedError

    def gradients(
        self, path: Sequence[Tensor], by_y: Tensor, by_log_det: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Gradients of x and of the parameters, given those of F(x) and of the log-det."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return run([self], x)


class _Run(Function):
    @staticmethod
    def forward(
        ctx: Any, layers: Sequence[Layer], x: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        size = layers[0].size
        log_det = x.new_zeros(size, len(x) // size)
        saved: list[Tensor] = []
        ctx.layers, ctx.ends = layers, [0]
        for layer in layers:
            x, path = layer.advance(x, log_det)
            saved += path
            ctx.ends.append(len(saved))
        ctx.save_for_backward(*saved)
        return x, log_det.view(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_y: Tensor, by_log_det: Tensor) -> tuple[Tensor | None, ...]:
        saved, found = ctx.saved_tensors, []
        by_log_det = by_log_det.view(ctx.layers[0].size, -1)
        for number, layer in reversed(list(enumerate(ctx.layers))):
            path = saved[ctx.ends[number] : ctx.ends[number + 1]]
            by_y, ours = layer.gradients(path, by_y, by_log_det)
            found.append(ours)
        return None, by_y, *(gradient for ours in reversed(found) for gradient in ours)


def run(layers: Sequence[Layer], x: Tensor) -> tuple[Tensor, Tensor]:
    """Layers in turn, ``(S·B, …)`` to ``(S·B, …)`` and the sum of the log-dets ``(S·B,)``."""
    parameters = [parameter for layer in layers for parameter in layer.in_turn]
    y, log_det = _Run.apply(layers, x, *parameters)  # type: ignore[no-untyped-call]
    return y, log_det


class BatchedActNorm(Layer):
    """S activation normalisations, ``(S·B, C, …) → (S·B, C, …)``.

    Args:
        bias: Shape ``(S, C)``.
        log_scale: Likewise.
    """

    def __init__(self, bias: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self.size, self.in_turn = len(bias), (bias, log_scale)
        self._bias, self._log_scale = bias.detach(), log_scale.detach()

    def _along(self, parameter: Tensor, x: Tensor) -> Tensor:
        return parameter.view(self.size, 1, -1, *[1] * (x.ndim - 2))

    def advance(self, x: Tensor, log_det: Tensor) -> tuple[Tensor, list[Tensor]]:
        scale = self._along(self._log_scale.exp(), x)
        y = (apart(x, self.size) + self._along(self._bias, x)).mul_(scale)
        log_det += self._log_scale.sum(1, keepdim=True) * math.prod(x.shape[2:])
        return y.flatten(0, 1), [y, scale]

    def gradients(
        self, path: Sequence[Tensor], by_y: Tensor, by_log_det: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        y, scale = path
        by_y = apart(by_y, self.size)
        others = [1, *range(3, y.ndim)]
        by_x = by_y * scale
        by_total = by_log_det.sum(1, keepdim=True) * math.prod(y.shape[3:])
        by_log_scale = (by_y * y).sum(others) + by_total
        return by_x.flatten(0, 1), [by_x.sum(others), by_log_scale]

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        bias, log_scale = (self._along(parameter, y) for parameter in self.in_turn)
        x = apart(y, self.size) * (-log_scale).exp() - bias
        total = self.in_turn[1].sum(1) * math.prod(y.shape[2:])
        return x.flatten(0, 1), -total.repeat_interleave(len(y) // self.size)


class BatchedPermutation(Layer):
    """S permutations, ``(S·B, C, …) → (S·B, C, …)``.

    Args:
        index: ``y_i = x_{index_i}``, shape ``(S, C)``.
        inverse_index: Likewise.
    """

    def __init__(self, index: Tensor, inverse_index: Tensor) -> None:
        super().__init__()
        self.size, self.in_turn = len(index), ()
        self._indices = index, inverse_index

    def _permute(self, x: Tensor, index: Tensor) -> Tensor:
        x = apart(x, self.size)
        along = index.view(self.size, 1, -1, *[1] * (x.ndim - 3))
        return x.gather(2, along.expand_as(x)).flatten(0, 1)

    def advance(self, x: Tensor, log_det: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self._permute(x, self._indices[0]), []

    def gradients(
        self, path: Sequence[Tensor], by_y: Tensor, by_log_det: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        return self._permute(by_y, self._indices[1]), []

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return BatchedPermutation(*reversed(self._indices)).forward(y)
