"""Linear layers and convolutions alike, by the number of dimensions of their weight."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.bijections.coupling.networks import Layer, convolution, linear
from harness.bijections.residual.convolution_norm import (
    convolution_gram_bound,
    convolution_norm_bound,
)
from harness.bijections.spectral import exact_norm, gram_upper_bound

Shape = tuple[int, ...]


def layer(inputs: int, outputs: int, shape: Shape, size: int, generator: torch.Generator) -> Layer:
    """A linear layer for vectors of ``shape``, or a convolution of ``size`` taps a side."""
    if len(shape) == 1:
        return linear(inputs, outputs, generator)
    return convolution(inputs, outputs, size, generator)


def apply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer on ``(…, B, C)`` or ``(…, B, C, H, W)``; a convolution keeps H and W."""
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    y = F.conv2d(x.flatten(0, -4), weight, bias, padding=weight.shape[-1] // 2)
    return y.view(*x.shape[:-3], *y.shape[1:])


def normalized(weight: Tensor, limit: float, shape: Shape) -> Tensor:
    """``W · min(1, limit / ‖W‖₂)`` with the norm's certified upper bound, differentiable.

    Args:
        weight: Of a linear layer or of a convolution.
        limit: What the norm does not exceed.
        shape: Of an input, without the batch; of an image the height and the width count.
    """
    if weight.ndim == 2:
        norm = gram_upper_bound(weight)
    else:
        norm = convolution_gram_bound(weight, (shape[1], shape[2]))
    # The bound is clamped, not the factor: that has no finite slope where a weight is zero.
    return weight * (limit / norm.clamp_min(limit))


def norm_bound(weight: Tensor, shape: Shape) -> float:
    """Of ``‖W‖₂``, in float64: exact for a matrix, an upper bound for a convolution."""
    if weight.ndim == 2:
        return exact_norm(weight)
    return convolution_norm_bound(weight, (shape[1], shape[2]))


def check_shape(name: str, shape: Shape, *allowed: int) -> None:
    """Refuse shapes that a network cannot take.

    Raises:
        ValueError: ``shape`` has another number of dimensions, or an empty one.
    """
    if len(shape) not in allowed or math.prod(shape) < 1:
        kinds = " or ".join({1: "(dimension,)", 3: "(channels, height, width)"}[n] for n in allowed)
        message = f"{name}: shape must be {kinds} without the batch, not {tuple(shape)}"
        raise ValueError(message)


def check_coefficient(name: str, coefficient: float) -> None:
    """Refuse a Lipschitz constant that does not make ``x + g(x)`` invertible.

    Raises:
        ValueError: It is not in (0, 1).
    """
    if not 0 < coefficient < 1:
        message = f"{name}: coefficient must be above 0 and below 1, not {coefficient}"
        raise ValueError(message)
