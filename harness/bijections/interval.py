"""Layers of a network on boxes: interval bound propagation (arXiv 1810.12715)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections.box import Box

SILU_LOWEST = -1.2784645427610738
"""Where ``x σ(x)`` is least: it falls up to there, and rises from there."""


def silu(box: Box) -> Box:
    """All ``x σ(x)``: the least is at the point of the interval nearest to the lowest."""
    lowest = torch.full_like(box.lower, SILU_LOWEST)
    nearest = torch.maximum(box.lower, torch.minimum(box.upper, lowest))
    return Box(F.silu(nearest), torch.maximum(F.silu(box.lower), F.silu(box.upper)))


def layer(module: nn.Linear | nn.Conv2d, box: Box) -> Box:
    """All ``W x + b``: ``W c + b ± |W| r`` of the box's centre and radius."""
    if isinstance(module, nn.Linear):
        return box.linear(module.weight, module.bias)
    weight = module.weight.detach().to(box.lower.dtype)

    def convolved(x: Tensor, kernel: Tensor) -> Tensor:
        padding = module.padding
        return F.conv2d(x.unsqueeze(0), kernel, padding=padding).squeeze(0)

    middle = convolved((box.lower + box.upper) / 2, weight)
    spread = convolved((box.upper - box.lower) / 2, weight.abs())
    if module.bias is not None:
        middle = middle + module.bias.detach().to(middle.dtype)[:, None, None]
    return Box(middle - spread, middle + spread)
