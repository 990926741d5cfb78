"""Layers that hold the weights of S networks and take a batch of S·B.

Small networks are bound by the number of operations, not by arithmetic, and autograd adds its own
to each of them. So a run of layers is one node of the graph, and each layer has its gradient
written by hand. ``C`` channels. Within a run vectors lie channel by channel, ``(S, C, B)``: a
channel is a row, and to take some of them moves nothing. Images are ``(S, B, C, H, W)``.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from harness.bijections.base import Bijection
from harness.training.perceptron import apart, columns, rows


class Layer(Bijection):
    """A bijection of S networks with a gradient of its own.

    Attributes:
        size: S.
        in_turn: The parameters, in the order of their gradients.
    """

    size: int
    in_turn: tuple[Tensor, ...]

    def advance(self, x: Tensor, log_det: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``F(x)``, and what :meth:`gradients` takes; the log-det is added to ``(S, B)``.

        Args:
            x: As it lies within a run.
            log_det: Changed in place.
        """
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
        x = _within(x, size)
        saved: list[Tensor] = []
        ctx.layers, ctx.ends = layers, [0]
        for layer in layers:
            x, path = layer.advance(x, log_det)
            saved += path
            ctx.ends.append(len(saved))
        ctx.save_for_backward(*saved)
        return _outside(x), log_det.view(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_y: Tensor, by_log_det: Tensor) -> tuple[Tensor | None, ...]:
        saved, found, size = ctx.saved_tensors, [], ctx.layers[0].size
        # Of a loss that is a mean, the same for every sample and without memory of its own.
        by_log_det = by_log_det.view(size, -1).contiguous()
        by_y = _within(by_y, size)
        for number, layer in reversed(list(enumerate(ctx.layers))):
            path = saved[ctx.ends[number] : ctx.ends[number + 1]]
            by_y, ours = layer.gradients(path, by_y, by_log_det)
            found.append(ours)
        return None, _outside(by_y), *(gradient for ours in reversed(found) for gradient in ours)


def run(layers: Sequence[Layer], x: Tensor) -> tuple[Tensor, Tensor]:
    """Layers in turn, ``(S·B, …)`` to ``(S·B, …)`` and the sum of the log-dets ``(S·B,)``."""
    parameters = [parameter for layer in layers for parameter in layer.in_turn]
    y, log_det = _Run.apply(layers, x, *parameters)  # type: ignore[no-untyped-call]
    return y, log_det


def _within(x: Tensor, size: int) -> Tensor:
    return columns(x, size) if x.ndim == 2 else apart(x, size)


def _outside(x: Tensor) -> Tensor:
    return rows(x) if x.ndim == 3 else x.flatten(0, 1)


def _along(parameter: Tensor, x: Tensor) -> Tensor:
    """A parameter ``(S, C)`` beside an x that lies as it does within a run."""
    return parameter.unsqueeze(2) if x.ndim == 3 else parameter[:, None, :, None, None]


def _per_channel(x: Tensor) -> Tensor:
    """The sum over all but networks and channels, ``(S, C)``."""
    return x.sum(2 if x.ndim == 3 else (1, 3, 4))


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

    def advance(self, x: Tensor, log_det: Tensor) -> tuple[Tensor, list[Tensor]]:
        scale = _along(self._log_scale.exp(), x)
        y = (x + _along(self._bias, x)).mul_(scale)
        log_det += self._log_scale.sum(1, keepdim=True) * math.prod(x.shape[3:])
        return y, [y, scale]

    def gradients(
        self, path: Sequence[Tensor], by_y: Tensor, by_log_det: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        y, scale = path
        by_x = by_y * scale
        by_total = by_log_det.sum(1, keepdim=True) * math.prod(y.shape[3:])
        return by_x, [_per_channel(by_x), _per_channel(by_y * y) + by_total]

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        bias, log_scale = self.in_turn
        batch = _within(y, self.size)
        x = batch * _along((-log_scale).exp(), batch) - _along(bias, batch)
        total = log_scale.sum(1) * math.prod(y.shape[2:])
        return _outside(x), -total.repeat_interleave(len(y) // self.size)


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
        return x.gather(1 if x.ndim == 3 else 2, _along(index, x).expand_as(x))

    def advance(self, x: Tensor, log_det: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self._permute(x, self._indices[0]), []

    def gradients(
        self, path: Sequence[Tensor], by_y: Tensor, by_log_det: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        return self._permute(by_y, self._indices[1]), []

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return BatchedPermutation(*reversed(self._indices)).forward(y)
