"""The autograd function of a network that keeps its output alone."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from harness.backpropagation.autocast import autocast_now
from harness.backpropagation.guard import Guard
from harness.backpropagation.walk import Walk


class Rebuilding(Function):
    """``(F(x), log |det J_F(x)|)``; the way back runs through the layers by their inverses."""

    @staticmethod
    def forward(
        ctx: Any,
        walk: Walk,
        guard: Guard | None,
        x: Tensor,
        context: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Without a graph; the weights are there only to be differentiated by."""
        ctx.set_materialize_grads(False)
        ctx.walk, ctx.guard, ctx.autocast = walk, guard, autocast_now(x.device)
        with ctx.autocast():
            y, log_det, ctx.dtypes = walk.there(x, context, guard)
        if y.untyped_storage()._cdata == x.untyped_storage()._cdata:  # a network that does nothing
            y = y.clone()
        kept = guard.kept if guard else []
        ctx.save_for_backward(y, context, *weights, *kept)
        if guard:
            guard.kept = []
        ctx.size = len(weights)
        return y, log_det

    @staticmethod
    def backward(
        ctx: Any, by_y: Tensor | None, by_log_det: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradients by x, the context and the weights.

        Raises:
            RuntimeError: They are to be differentiated themselves.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "memory-saving backpropagation keeps no graph, so its gradients cannot be "
                "differentiated (create_graph=True); use plain autograd for second derivatives"
            )
        y, context, *rest = ctx.saved_tensors
        _, _, needs_x, needs_context, *needed = ctx.needs_input_grad
        weights = [
            one.detach().requires_grad_(needs)
            for one, needs in zip(rest[: ctx.size], needed, strict=True)
        ]
        if context is not None:
            context = context.detach().requires_grad_(needs_context)
        walk, guard = ctx.walk, ctx.guard
        if guard:
            guard.begin(rest[ctx.size :])
        with ctx.autocast(), walk.weights.replaced(weights):
            found = walk.back(y, context, by_y, by_log_det, needs_x, weights, ctx.dtypes, guard)
        if guard:
            guard.end()
        return None, None, found.x, found.context, *found.weights
