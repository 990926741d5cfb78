"""Through a network's layers and back again, without a graph of more than one of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.backpropagation.guard import Guard
from harness.backpropagation.weights import Weights
from harness.bijections.base import Bijection, Rebuilt, again, rebuilt
from harness.bijections.path import layers


class Gradients(NamedTuple):
    """Of a loss, by what a walk was given; ``None`` where it does not depend on it.

    Attributes:
        x: By the input.
        context: By the context.
        weights: By each of the weights.
    """

    x: Tensor | None
    context: Tensor | None
    weights: list[Tensor | None]


class Walk:
    """The layers of a network, and where their weights lie.

    Args:
        flow: The network.
    """

    def __init__(self, flow: Bijection) -> None:
        self.path = tuple(layer.bijection for layer in layers(flow))
        self.weights = Weights(flow)
        self._own = tuple(self.weights.numbers(layer) for layer in self.path)

    def there(
        self, x: Tensor, context: Tensor | None, guard: Guard | None
    ) -> tuple[Tensor, Tensor, list[torch.dtype]]:
        """``F(x)``, the log-det, and the dtype that each layer is given; nothing else is kept."""
        dtypes = []
        log_det: Tensor | None = None
        for number, layer in enumerate(self.path):
            dtypes.append(x.dtype)
            if guard:
                guard.note(number, x)
            x, increment = layer(x, context)
            log_det = increment if log_det is None else log_det + increment
        assert log_det is not None  # noqa: S101 - a chain has at least one part
        return x, log_det, dtypes

    def back(
        self,
        y: Tensor,
        context: Tensor | None,
        by_y: Tensor | None,
        by_log_det: Tensor | None,
        needs_x: bool,
        weights: Sequence[Tensor],
        dtypes: Sequence[torch.dtype],
        guard: Guard | None,
    ) -> Gradients:
        """Gradients, from the last layer on: each is inverted, and run again with a graph.

        Args:
            y: What :meth:`there` returned.
            context: What it was given, a leaf that requires a gradient if one is wanted.
            by_y: The loss's gradient by y, if it depends on it.
            by_log_det: Likewise by the log-det.
            needs_x: Whether the input's gradient is wanted.
            weights: Those of then, leaves that require a gradient where one is wanted.
            dtypes: What :meth:`there` returned.
            guard: That noted what the layers were given.
        """
        found: list[Tensor | None] = [None] * len(weights)
        by_context: Tensor | None = None
        for number in range(len(self.path) - 1, self._first(context, needs_x, weights) - 1, -1):
            own = [n for n in self._own[number] if weights[n].requires_grad]
            wanted = [weights[n] for n in own]
            if context is not None and context.requires_grad:
                wanted.append(context)
            step = self._step(number, y, context, dtypes[number], guard)
            by_y, more = step.gradients(by_y, by_log_det, wanted)
            y = step.x
            del step  # its graph, before the next layer has one
            for n, gradient in zip(own, more, strict=False):
                found[n] = _sum(found[n], gradient)
            if len(more) > len(own):
                by_context = _sum(by_context, more[-1])
        return Gradients(by_y if needs_x else None, by_context, found)

    def _first(self, context: Tensor | None, needs_x: bool, weights: Sequence[Tensor]) -> int:
        """The first layer with a gradient to be found: the way back ends there."""
        if needs_x or (context is not None and context.requires_grad):
            return 0
        trained = (any(weights[n].requires_grad for n in own) for own in self._own)
        return next((number for number, own in enumerate(trained) if own), len(self.path))

    def _step(
        self,
        number: int,
        y: Tensor,
        context: Tensor | None,
        dtype: torch.dtype,
        guard: Guard | None,
    ) -> Rebuilt:
        """A layer again, from its input."""
        layer = self.path[number]
        x = guard.known(number) if guard else None
        if x is None:
            step = rebuilt(layer, y, context)
            if guard and not guard.agrees(number, step.x):
                x = guard.recompute(number, self.path, context)
            elif step.x.dtype == dtype:
                return step
            else:  # autocast's inverse has ended in another one
                x = step.x.to(dtype)
        return again(layer, x, context)


def _sum(before: Tensor | None, more: Tensor | None) -> Tensor | None:
    return more if before is None else before if more is None else before + more
