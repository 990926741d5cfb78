"""A densely connected network with a certified Lipschitz constant below 1."""

import math
from collections.abc import Sequence
from typing import cast

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


class LipschitzDense(Contraction):
    """``g = W ∘ h_n ∘ … ∘ h_1`` with ``h_i(x) = [cos θ_i · x, sin θ_i · φ(W_i x)]`` (i-DenseNet).

    Each ``‖W_i‖₂ ≤ 1`` and ``Lip(φ) ≤ 1``, and so
    ``Lip(h_i) ≤ √(cos² θ_i + sin² θ_i ‖W_i‖₂²) ≤ 1`` (arXiv 2102.02694, with its learnable
    weights of a concatenation ``η / ‖η‖₂`` written as an angle); ``‖W‖₂ ≤ coefficient`` then
    bounds g. Each h_i adds ``growth`` channels. W_i are linear layers on vectors and 3×3
    convolutions on images, W is 1×1; norms are bounded from above by Gram iteration.

    Args:
        shape: ``(D,)``, or channels, height, width.
        growth: Channels that each h_i adds; even with an activation of two outputs.
        depth: n, at least 1.
        coefficient: The bound, in (0, 1).
        generator: Draws the weights.
        activation: φ.

    Raises:
        ValueError: A shape, growth, depth or coefficient that this does not allow.
    """

    def __init__(
        self,
        shape: Shape,
        growth: int,
        depth: int,
        coefficient: float,
        generator: torch.Generator,
        activation: Activation = LIP_SWISH,
    ) -> None:
        super().__init__()
        name = "dense Lipschitz network"
        check_shape(name, shape, 1, 3)
        check_coefficient(name, coefficient)
        if growth < 1 or growth % activation.growth:
            multiple = activation.growth
            message = f"{name}: growth must be a positive multiple of {multiple}, not {growth}"
            raise ValueError(message)
        if depth < 1:
            message = f"{name}: depth must be at least 1, not {depth}"
            raise ValueError(message)
        self.shape, self.coefficient, self.activation = tuple(shape), coefficient, activation
        channels = [shape[0] + growth * number for number in range(depth + 1)]
        new = growth // activation.growth
        self.layers = nn.ModuleList(layer(one, new, shape, 3, generator) for one in channels[:-1])
        self.last = layer(channels[-1], shape[0], shape, 1, generator)
        self.angles = nn.Parameter(torch.full((depth,), math.pi / 4))

    def weights(self) -> list[Tensor]:
        raw = [cast(Tensor, one.weight) for one in self.layers]
        return [
            *(normalized(weight, 1.0, self.shape) for weight in raw),
            normalized(self.last.weight, self.coefficient, self.shape),
        ]

    def linearize(
        self, x: Tensor, weights: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tangent]:
        *hidden, last = self.weights() if weights is None else weights
        cosines, sines = self.angles.cos().unbind(), self.angles.sin().unbind()
        channel = 1 - x.ndim  # from the end, where tangents have dimensions before
        slopes: list[Tensor] = []
        for number, (one, weight) in enumerate(zip(self.layers, hidden, strict=True)):
            inner = apply(x, weight, one.bias)  # type: ignore[arg-type]
            slopes.append(sines[number] * self.activation.derivative(inner))
            new = sines[number] * self.activation.function(inner)
            x = torch.cat([cosines[number] * x, new], dim=1)

        def tangent(v: Tensor) -> Tensor:
            for cosine, slope, weight in zip(cosines, slopes, hidden, strict=True):
                new = torch.cat([apply(v, weight)] * self.activation.growth, dim=channel) * slope
                kept = (cosine * v).expand(*new.shape[:channel], *v.shape[channel:])
                v = torch.cat([kept, new], dim=channel)
            return apply(v, last)

        return apply(x, last, self.last.bias), tangent

    def lipschitz(self) -> float:
        """``‖W‖₂ · Π √(cos² θ_i + sin² θ_i ‖W_i‖₂²)``, at most ``coefficient``."""
        *hidden, last = self.weights()
        bound = norm_bound(last, self.shape)
        for angle, weight in zip(self.angles.detach().double(), hidden, strict=True):
            norm = norm_bound(weight, self.shape)
            if not (math.isfinite(norm) and angle.isfinite()):
                return math.inf
            bound *= float((angle.cos() ** 2 + (angle.sin() * norm) ** 2).sqrt())
        return bound
