"""A network with a certified Lipschitz constant below 1, and its Jacobian."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from harness.bijections.networks import linear
from harness.bijections.spectral import exact_norm, gram_upper_bound


def lip_swish(x: Tensor) -> Tensor:
    """``x σ(x) / 1.1``, of Lipschitz constant below 1 (arXiv 1906.02735)."""
    return x * torch.sigmoid(x) / 1.1


def lip_swish_derivative(x: Tensor) -> Tensor:
    """``(σ(x) + x σ(x) (1 - σ(x))) / 1.1``."""
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate)) / 1.1


class LipschitzNetwork(nn.Module):
    """``g = W_n ∘ φ ∘ … ∘ φ ∘ W_1`` with ``Lip(g) ≤ coefficient``.

    Every weight is used as ``W · min(1, c / ‖W‖₂)`` with ``c = coefficient^(1/n)`` and the norm's
    certified upper bound of :func:`~harness.bijections.spectral.gram_upper_bound`; φ is LipSwish.

    Args:
        dimension: Input and output size.
        width: Hidden size.
        layers: Hidden layers, at least 1.
        coefficient: The bound, in (0, 1).
        generator: Draws the weights.
    """

    def __init__(
        self,
        dimension: int,
        width: int,
        layers: int,
        coefficient: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = [dimension, *[width] * layers, dimension]
        self.layers = nn.ModuleList(linear(a, b, generator) for a, b in pairwise(sizes))
        self.coefficient = coefficient

    def weights(self) -> list[Tensor]:
        """The normalised weights."""
        limit = self.coefficient ** (1 / len(self.layers))
        raw = [layer.weight for layer in self.layers]
        # The bound is clamped, not the factor: that has no finite slope where a weight is zero.
        return [w * (limit / gram_upper_bound(w).clamp_min(limit)) for w in raw]  # type: ignore[arg-type]

    def forward(self, x: Tensor, weights: list[Tensor] | None = None) -> Tensor:
        """``g(x)``; ``weights`` spares normalising them again within an iteration."""
        weights = self.weights() if weights is None else weights
        biases = [layer.bias for layer in self.layers]
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = nn.functional.linear(lip_swish(x) if number else x, weight, bias)  # type: ignore[arg-type]
        return x

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
        """``g(x)`` and ``J_g(x)``, shapes ``(B, D)`` and ``(B, D, D)``."""
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
            tangents = tangents * lip_swish_derivative(x).unsqueeze(1)
            if number < last or through:
                tangents = tangents @ weights[number].T
            x = nn.functional.linear(lip_swish(x), weights[number], biases[number])  # type: ignore[arg-type]
        return x, tangents.transpose(1, 2)

    def lipschitz(self) -> float:
        """``Π ‖W_i‖₂`` of the normalised weights, at most ``coefficient``."""
        bound = 1.0
        for weight in self.weights():
            bound *= exact_norm(weight)
        return bound
