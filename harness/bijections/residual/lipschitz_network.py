"""A network with a certified Lipschitz constant below 1, and its Jacobian."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.bijections.coupling.networks import linear
from harness.bijections.given import check_least
from harness.bijections.residual.activations import LIP_SWISH, Activation
from harness.bijections.residual.contraction import Contraction, Tangent
from harness.bijections.residual.lipschitz_layers import check_coefficient
from harness.bijections.spectral import exact_norm, gram_upper_bound


class LipschitzNetwork(Contraction):
    """``g = W_n ∘ φ ∘ … ∘ φ ∘ W_1`` with ``Lip(g) ≤ coefficient``.

    Every weight is used as ``W · min(1, c / ‖W‖₂)`` with ``c = coefficient^(1/n)`` and the norm's
    certified upper bound of :func:`~harness.bijections.spectral.gram_upper_bound`.

    Args:
        dimension: Input and output size.
        width: Hidden size.
        layers: Hidden layers, at least 1.
        coefficient: The bound, in (0, 1).
        generator: Draws the weights.
        activation: φ.

    Raises:
        ValueError: The coefficient is not in (0, 1), or a size below 1.
    """

    def __init__(
        self,
        dimension: int,
        width: int,
        layers: int,
        coefficient: float,
        generator: torch.Generator,
        activation: Activation = LIP_SWISH,
    ) -> None:
        super().__init__()
        check_coefficient("Lipschitz network", coefficient)
        check_least("Lipschitz network", 1, dimension=dimension, width=width, layers=layers)
        sizes = [dimension, *[width] * layers, dimension]
        grown = [dimension, *[activation.growth * width] * layers]
        ends = zip(grown, sizes[1:], strict=True)
        self.layers = nn.ModuleList(linear(a, b, generator) for a, b in ends)
        self.shape, self.coefficient, self.activation = (dimension,), coefficient, activation

    def weights(self) -> list[Tensor]:
        limit = self.coefficient ** (1 / len(self.layers))
        raw = [layer.weight for layer in self.layers]
        # The bound is clamped, not the factor: that has no finite slope where a weight is zero.
        return [w * (limit / gram_upper_bound(w).clamp_min(limit)) for w in raw]  # type: ignore[arg-type]

    def forward(self, x: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        weights = self.weights() if weights is None else weights
        biases = [layer.bias for layer in self.layers]
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = self.activation.function(x) if number else x
            x = nn.functional.linear(x, weight, bias)  # type: ignore[arg-type]
        return x

    def linearize(
        self, x: Tensor, weights: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tangent]:
        weights = self.weights() if weights is None else weights
        slopes: list[Tensor] = []
        for number, (layer, weight) in enumerate(zip(self.layers, weights, strict=True)):
            if number:
                slopes.append(self.activation.derivative(x))
                x = self.activation.function(x)
            x = nn.functional.linear(x, weight, layer.bias)  # type: ignore[arg-type]

        def tangent(v: Tensor) -> Tensor:
            v = v @ weights[0].T
            for slope, weight in zip(slopes, weights[1:], strict=True):
                v = (self._grown(v) * slope) @ weight.T
            return v

        return x, tangent

    def _grown(self, tangents: Tensor) -> Tensor:
        growth = self.activation.growth
        return torch.cat([tangents] * growth, dim=-1) if growth > 1 else tangents

    def value_and_core(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``g(x)`` and a square matrix K of the smaller size with ``det(I + K) = det(I + J_g)``.

        With ``J_g = W_n M``, Sylvester's identity gives ``det(I_D + W_n M) = det(I_h + M W_n)``:
        where the hidden size h is below D, everything happens in h×h. Shapes ``(B, D)`` and
        ``(B, min(h, D), min(h, D))``.
        """
        weights = self.weights()
        if weights[-1].shape[1] >= x.shape[1]:
            return self._sweep(x, weights, weights[0].T, through=True)
        return self._sweep(x, weights, (weights[0] @ weights[-1]).T, through=False)

    def value_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.weights()
        return self._sweep(x, weights, weights[0].T, through=True)

    def _sweep(
        self, x: Tensor, weights: list[Tensor], tangents: Tensor, *, through: bool
    ) -> tuple[Tensor, Tensor]:
        """Value and tangents in one forward sweep; ``through`` the last linear layer or up to it.

        Tangents are kept transposed, so that each step is one multiplication from the right.
        """
        biases = [layer.bias for layer in self.layers]
        tangents = tangents.expand(len(x), -1, -1)
        x = nn.functional.linear(x, weights[0], biases[0])  # type: ignore[arg-type]
        last = len(weights) - 1
        for number in range(1, last + 1):
            tangents = self._grown(tangents) * self.activation.derivative(x).unsqueeze(1)
            if number < last or through:
                tangents = tangents @ weights[number].T
            x = self.activation.function(x)
            x = nn.functional.linear(x, weights[number], biases[number])  # type: ignore[arg-type]
        return x, tangents.transpose(1, 2)

    def lipschitz(self) -> float:
        """``Π ‖W_i‖₂`` of the normalised weights, at most ``coefficient``."""
        bound = 1.0
        for weight in self.weights():
            bound *= exact_norm(weight)
        return bound
