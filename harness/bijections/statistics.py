"""The explicit step of blocks that follow the data, where a flow has some."""

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection


def updated(flow: nn.Module) -> list[Bijection]:
    """The blocks of a flow, itself included, that have an :meth:`Bijection.update` of their own."""
    blocks = [block for block in flow.modules() if isinstance(block, Bijection)]
    return [block for block in blocks if type(block).update is not Bijection.update]


def update_statistics(flow: nn.Module, x: Tensor) -> None:
    """Update each of :func:`updated` by what it is given where the flow sees ``x``.

    One forward pass, in turn, so that each sees what the ones before it give after their update.
    """

    def update(block: nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(block, Bijection):
            block.update(given[0])

    hooks = [block.register_forward_pre_hook(update) for block in updated(flow)]
    try:
        with torch.no_grad():
            flow(x)
    finally:
        for hook in hooks:
            hook.remove()
