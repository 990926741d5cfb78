"""The vector field of a neural ODE, its Jacobian and its Lipschitz constant."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections.continuous.runge_kutta import Time
from harness.bijections.coupling.networks import linear
from harness.bijections.given import check_alike, check_context, check_least, check_shape
from harness.bijections.spectral import exact_norm

FieldTangent = Callable[[Tensor], Tensor]
"""``v ↦ J_f(t, x) v`` of K tangents a sample, ``(B, K, D)``, for t and x that are settled."""


class VectorField(nn.Module):
    """``f(t, x) = W_n tanh(… tanh(W_1 [x, t, c] + b_1) …) + b_n``, zero at the start.

    Args:
        dimension: D.
        width: Hidden size.
        layers: Hidden layers; without any f is affine in x, t and c.
        generator: Draws the weights.
        context: How many features of a context c it takes; 0 for a field that looks at none.

    Raises:
        ValueError: A size below 1, or ``layers`` or ``context`` below 0.
    """

    def __init__(
        self,
        dimension: int,
        width: int,
        layers: int,
        generator: torch.Generator,
        context: int = 0,
    ) -> None:
        super().__init__()
        check_least("vector field", 1, dimension=dimension, width=width)
        check_least("vector field", 0, layers=layers, context=context)
        sizes = [dimension + 1 + context, *[width] * layers, dimension]
        self.layers = nn.ModuleList(linear(a, b, generator) for a, b in pairwise(sizes))
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)
        self.dimension, self.context = dimension, context

    def check(self, name: str, x: Tensor, parts: int = 1) -> None:
        """Refuse what is not ``(B, parts · D)`` in the precision and on the device of the weights.

        Args:
            name: Of the block.
            x: What it is given.
            parts: How many times D that is.
        """
        check_shape(name, x, (parts * self.dimension,))
        check_alike(name, x, self._of_x())

    def forward(self, time: Time, x: Tensor, context: Tensor | None = None) -> Tensor:
        """``f(t, x)``, shape ``(B, D)``."""
        return self._sweep(time, x, context)[0]

    def linearize(
        self, time: Time, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, FieldTangent]:
        """``f(t, x)`` and ``v ↦ J_f(t, x) v`` of tangents ``(B, K, D)``."""
        value, slopes = self._sweep(time, x, context)

        def tangent(v: Tensor) -> Tensor:
            for number, layer in enumerate(self.layers):
                weight = layer.weight if number else self._of_x()
                v = F.linear(v if number == 0 else v * slopes[number - 1], weight)  # type: ignore[arg-type]
            return v

        return value, tangent

    def _sweep(self, time: Time, x: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The value, and the slopes of each tanh, ``(B, 1, width)``."""
        slopes: list[Tensor] = []
        x = torch.cat([x, *self._beside(time, x, context)], dim=1)
        for number, layer in enumerate(self.layers):
            if number:
                x = torch.tanh(x)
                slopes.append((1 - x * x).unsqueeze(1))
            x = layer(x)
        return x, slopes

    def _beside(self, time: Time, x: Tensor, context: Tensor | None) -> list[Tensor]:
        if isinstance(time, Tensor):
            beside = [time.unsqueeze(1)]
        else:
            beside = [x.new_full((len(x), 1), time)]
        if not self.context:
            return beside
        return [*beside, check_context("vector field", context, self.context, x)]

    def _of_x(self) -> Tensor:
        weight: Tensor = self.layers[0].weight[:, : self.dimension]  # type: ignore[index]
        return weight

    def lipschitz(self) -> float:
        """``Lip ≤ Π ‖W_i‖₂`` in x, at any t and c, which add a constant to ``W_1 x``."""
        bound = exact_norm(self._of_x())
        for number, layer in enumerate(self.layers):
            bound *= exact_norm(layer.weight) if number else 1.0  # type: ignore[arg-type]
        return bound if bound < math.inf else math.inf  # 0 · inf is no bound either
