"""Gradients through a transformer, whose input and parameters are known."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.bijections.base import differentiated, sum_per_sample
from harness.bijections.transformers.elementwise import Transformer

Through = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(by y, by the log-det (B,)) → (by x, by h)``."""


def has_gradients(transformer: Transformer) -> bool:
    """Whether gradients are written by hand for just what it computes."""
    gradients, forward = (
        next(one for one in type(transformer).__mro__ if name in vars(one))
        for name in ("gradients", "forward")
    )
    # A subclass with a forward of its own inherits the gradients of another one.
    return gradients is not Transformer and issubclass(gradients, forward)


def by_hand(transformer: Transformer, x: Tensor, h: Tensor) -> Through:
    """By :meth:`Transformer.gradients`, of a transformer that :func:`has_gradients`."""
    h = h.detach()

    def through(by_y: Tensor, by_log_det: Tensor) -> tuple[Tensor, Tensor]:
        by_log = by_log_det.view(-1, *[1] * (x.ndim - 1))  # the same for every element
        return transformer.gradients(x, h, by_y, by_log)

    return through


def by_autograd(transformer: Transformer, x: Tensor, h: Tensor) -> Through:
    """Of any transformer without parameters."""
    x, h = (one.detach().requires_grad_() for one in (x, h))
    with torch.enable_grad():
        y, log_derivative = transformer(x, h)
        results = y, sum_per_sample(log_derivative)

    def through(by_y: Tensor, by_log_det: Tensor) -> tuple[Tensor, Tensor]:
        found = differentiated(results, (by_y, by_log_det), [x, h])
        by_x, by_h = (
            torch.zeros_like(leaf) if one is None else one
            for leaf, one in zip((x, h), found, strict=True)
        )
        return by_x, by_h

    return through
