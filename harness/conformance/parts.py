"""The parts of a network, each at the inputs that reach it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.shape.multiscale import MultiScale
from harness.conformance.row import Row

OF_EACH = ", of each part"
"""Ends the name of a check that names its part by itself."""

Check = Callable[[Bijection, Tensor], list[Row]]


class Part(NamedTuple):
    """A bijection within a network that is no mere chain of others.

    Attributes:
        name: Its path and kind: ``parts.3 (Residual)``.
        bijection: Itself.
        x: What it is given, shape ``(B, *shape)``.
    """

    name: str
    bijection: Bijection
    x: Tensor


def parts(flow: Bijection, x: Tensor) -> list[Part]:
    """In the order in which a forward pass ends them; a network of one part is that part.

    A chain's bounds are a product, too loose to show a false one. Any other block that holds a
    block is a part itself, for what it makes of the other's bounds is its own, and comes after it;
    one that only its inverse calls is held within it.
    """
    found: list[Part] = []

    def seen(name: str, module: Any, given: tuple[Any, ...], _: Any) -> None:
        part = Part(f"{name} ({type(module).__name__})", module, given[0].detach())
        found.append(part)

    hooks = [
        module.register_forward_hook(partial(seen, name))
        for name, module in flow.named_modules()
        if name and isinstance(module, Bijection) and not isinstance(module, Chain | MultiScale)
    ]
    try:
        with torch.no_grad():
            flow(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found or [Part(type(flow).__name__, flow, x)]


def located(flow: Bijection, x: Tensor, check: Check, where: str) -> list[Row]:
    """The rows of a check; what failed names the first part that fails it by itself too."""
    rows = check(flow, x)
    return [
        row.at(
            where,
            "" if row.passed or row.check.endswith(OF_EACH) else _culprit(flow, x, check, row),
        )
        for row in rows
    ]


def _culprit(flow: Bijection, x: Tensor, check: Check, failed: Row) -> str:
    try:
        for part in parts(flow, x):
            rows = [] if part.bijection is flow else check(part.bijection, part.x)
            for row in rows:
                if row.check == failed.check and not row.passed:
                    return f"; first in {part.name}: {row.detail}"
    except Exception:
        return ""
    return ""
