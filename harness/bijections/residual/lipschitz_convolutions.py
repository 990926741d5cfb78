"""A convolutional network with a certified Lipschitz constant below 1."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.bijections.residual.activations import LIP_SWISH, Activation
from harness.bijections.residual.contraction import Contraction, Tangent
from harness.bijections.residual.lipschitz_layers import (
    Shape,
    apply,
    check_coefficient,
    check_shape,
    layer,
    norm_bound,
    normalized,
)

SIZES = (3, 1, 3)
"""Taps a side of the convolutions (arXiv 1906.02735)."""


class LipschitzConvolutions(Contraction):
    """``g = W_3 ∘ φ ∘ W_2 ∘ φ ∘ W_1``, 3×3, 1×1 and 3×3 convolutions, ``Lip(g) ≤ coefficient``.

    Every kernel is used as ``W · min(1, c / ‖W‖₂)`` with ``c = coefficient^(1/3)`` and the
    certified upper bound of
    :func:`convolution_gram_bound`, for images of this size.

    Args:
        shape: Channels, height, width.
        width: Hidden channels.
        coefficient: The bound, in (0, 1).
        generator: Draws the weights.
        activation: φ.

    Raises:
        ValueError: No image's shape, no positive width, or a coefficient out of (0, 1).
    """

    def __init__(
        self,
        shape: Shape,
        width: int,
        coefficient: float,
        generator: torch.Generator,
        activation: Activation = LIP_SWISH,
    ) -> None:
        super().__init__()
        name = "convolutional Lipschitz network"
        check_shape(name, shape, 3)
        check_coefficient(name, coefficient)
        if width < 1:
            message = f"{name}: width must be at least 1, not {width}"
            raise ValueError(message)
        self.shape, self.coefficient, self.activation = tuple(shape), coefficient, activation
        channels = [shape[0], width, width, shape[0]]
        grown = [shape[0], *[activation.growth * width] * 2]
        ends = zip(grown, channels[1:], SIZES, strict=True)
        self.layers = nn.ModuleList(layer(a, b, shape, size, generator) for a, b, size in ends)

    def weights(self) -> list[Tensor]:
        limit = self.coefficient ** (1 / len(self.layers))
        return [normalized(one.weight, limit, self.shape) for one in self.layers]  # type: ignore[arg-type]

    def linearize(
        self, x: Tensor, weights: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tangent]:
        weights = self.weights() if weights is None else weights
        slopes: list[Tensor] = []
        for number, (one, weight) in enumerate(zip(self.layers, weights, strict=True)):
            if number:
                slopes.append(self.activation.derivative(x))
                x = self.activation.function(x)
            x = apply(x, weight, one.bias)  # type: ignore[arg-type]

        def tangent(v: Tensor) -> Tensor:
            v = apply(v, weights[0])
            for slope, weight in zip(slopes, weights[1:], strict=True):
                v = apply(torch.cat([v] * self.activation.growth, dim=-3) * slope, weight)
            return v

        return x, tangent

    def lipschitz(self) -> float:
        """``Π ‖W_i‖₂`` of the normalised kernels, each at most ``coefficient^(1/3)``."""
        bound = 1.0
        for weight in self.weights():
            bound *= norm_bound(weight, self.shape)
        return bound
