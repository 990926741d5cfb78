"""The explicit step of blocks that follow the data, where a flow has some."""

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection
from harness.bijections.headed import Head, outputs


def updated(flow: nn.Module) -> list[Bijection | Head]:
    """The blocks of a flow, itself and a head included, that have an ``update`` of their own."""
    blocks = [block for block in flow.modules() if isinstance(block, Bijection | Head)]
    none = (Bijection.update, Head.update)
    return [block for block in blocks if type(block).update not in none]


def update_statistics(flow: Bijection, x: Tensor) -> None:
    """Update each of :func:`updated` by what it is given where the flow sees ``x``.

    One forward pass, of a head too, in turn, so that each sees what the ones before it give after
    their update.
    """

    def update(block: nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(block, Bijection | Head):
            block.update(given[0])

    hooks = [block.register_forward_pre_hook(update) for block in updated(flow)]
    try:
        with torch.no_grad():
            outputs(flow, x)
    finally:
        for hook in hooks:
            hook.remove()
