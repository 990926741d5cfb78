"""What a block is given, checked where it would otherwise be broadcast, promoted or misread.

Of tensors shapes, dtypes and devices only, never values: networks of a pack are vectorised over
their weights, and a comparison of sizes costs no kernel. Arguments are checked where a block is
constructed.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def in_precision(dtype: torch.dtype, tensors: Iterable[Tensor]) -> list[Tensor]:
    """Tensors in a floating-point type; those of whole numbers, such as classes, as they are."""
    return [one.to(dtype) if one.is_floating_point() else one for one in tensors]


def shown(shape: Sequence[int | str]) -> str:
    """``(batch, 3, 8, 8)``."""
    return f"(batch, {', '.join(map(str, shape))})"


def check_least(name: str, least: int, **arguments: int) -> None:
    """Refuse arguments below ``least``, and NaN."""
    for argument, value in arguments.items():
        if not value >= least:
            raise ValueError(f"{name}: {argument} must be at least {least}, not {value}")


def check_within(name: str, low: float, high: float, **arguments: float) -> None:
    """Refuse arguments that are not above ``low`` and below ``high``, and NaN."""
    above = f"above {low:g}" + (" and finite" if high == math.inf else f" and below {high:g}")
    for argument, value in arguments.items():
        if not low < value < high:
            raise ValueError(f"{name}: {argument} must be {above}, not {value}")


def check_image(name: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width, or a sentence."""
    if len(shape) != 3 or min(shape) < 1:
        wanted = "shape must be (channels, height, width) without the batch"
        raise ValueError(f"{name}: {wanted}, not {tuple(shape)}")
    channels, height, width = shape
    return channels, height, width


def check_some(name: str, x: Tensor) -> None:
    """Refuse a batch of nothing where statistics are taken of it."""
    if not x.numel():
        raise ValueError(f"{name}: the batch is empty, of shape {tuple(x.shape)}")


def check_shape(name: str, x: Tensor, shape: Sequence[int]) -> None:
    """Refuse an input that is not ``(B, *shape)``."""
    if x.shape[1:] != tuple(shape):
        raise ValueError(f"{name}: the input must be {shown(shape)}, not of shape {tuple(x.shape)}")


def check_alike(name: str, x: Tensor, weight: Tensor) -> None:
    """Refuse an input of another precision or on another device than the weights."""
    if x.dtype != weight.dtype or x.device != weight.device:
        ours, theirs = (f"{t.dtype} on {t.device}" for t in (weight, x))
        raise ValueError(f"{name}: the input is {theirs}, and the weights {ours}")


def check_layer(name: str, x: Tensor, weight: Tensor) -> None:
    """Refuse what a linear layer, or a convolution over images, of that weight cannot take.

    A linear layer takes any number of dimensions and reads the last one, so that images would
    pass for vectors.
    """
    given, taken = x.shape, weight.shape
    if len(given) != len(taken) or given[1] != taken[1]:
        wanted = shown([taken[1], *("height", "width")[: weight.ndim - 2]])
        raise ValueError(f"{name}: the input must be {wanted}, not of shape {tuple(x.shape)}")
    check_alike(name, x, weight)


def check_context(name: str, context: Tensor | None, size: int, x: Tensor) -> Tensor:
    """The context, ``(B, size)`` or ``(B, size, H, W)`` beside images, or a sentence.

    Args:
        name: Of the block.
        context: What was given.
        size: How many features the block was built for.
        x: What the context is of.

    Raises:
        ValueError: There is none, or it is of another size, batch, dtype or device.
    """
    wanted = f"{name}: 'context' must be (batch, {size})"
    if context is None:
        raise ValueError(f"{wanted}, and none was given")
    vector = context.ndim == 2
    if context.shape[:2] != (len(x), size) or not (vector or context.shape[2:] == x.shape[2:]):
        raise ValueError(f"{wanted} for a batch of {len(x)}, not of shape {tuple(context.shape)}")
    if context.dtype != x.dtype or context.device != x.device:
        ours, theirs = (f"{t.dtype} on {t.device}" for t in (x, context))
        raise ValueError(f"{name}: 'context' is {theirs}, and the input {ours}")
    return context
