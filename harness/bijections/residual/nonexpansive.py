"""A network that no weights can make expand, and its Jacobian."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections.coupling.networks import linear
from harness.bijections.residual.contraction import Contraction, Tangent
from harness.bijections.residual.lipschitz_layers import check_coefficient, normalized
from harness.bijections.spectral import exact_norm


class Nonexpansive(Contraction):
    """``g = -c (N_K ∘ … ∘ N_1 + b)`` with ``Lip(g) ≤ c``, whatever the weights are.

    ``N_k(x) = x - 2 W_kᵀ φ_k(W_k x)`` is the convex potential layer of arXiv 2110.12690, with the
    weight used as ``W · min(1, 1 / ‖W‖₂)`` and ``φ(u) = softplus(βu + a) / β``, elementwise, of
    slope ``D = σ(βu + a)`` within (0, 1) for every β > 0. Its Jacobian ``I - 2 WᵀDW`` is symmetric
    and ``0 ≤ WᵀDW ≤ WᵀW ≤ I``, so its eigenvalues lie within [-1, 1]: nothing is lost to a product
    of norms, and with ``WᵀW = I`` both ends are reached, where all units are off and where all are
    on. A composition does not expand either; of two layers and more it need not be symmetric.

    The sharpness β is learnt, for each unit: weights of norm 1 alone make φ nearly linear on inputs
    of size 1.

    Args:
        dimension: Input and output size.
        width: Hidden units of a layer.
        layers: K, at least 1.
        coefficient: c, in (0, 1).
        generator: Draws the weights.

    Raises:
        ValueError: A size is below 1, or the coefficient not in (0, 1).
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
        name = "nonexpansive network"
        check_coefficient(name, coefficient)
        for argument, value in (("dimension", dimension), ("width", width), ("layers", layers)):
            if value < 1:
                raise ValueError(f"{name}: {argument} must be at least 1, not {value}")
        self.shape, self.coefficient = (dimension,), coefficient
        self.layers = nn.ModuleList(linear(dimension, width, generator) for _ in range(layers))
        # A unit sees some 1/√width of the input, and is to tell its two sides apart.
        sharpness = math.log(2 * math.sqrt(width))
        self.log_sharpness = nn.ParameterList(
            torch.full((width,), sharpness) for _ in range(layers)
        )
        # Of one layer, 1 + g then starts midway between its two constants, in logarithms.
        slope = (math.sqrt(1 - coefficient**2) - 1 + coefficient) / (2 * coefficient)
        for layer in self.layers:
            nn.init.constant_(layer.bias, math.log(slope / (1 - slope)))  # type: ignore[arg-type]
        self.shift = nn.Parameter(torch.zeros(dimension))

    def weights(self) -> list[Tensor]:
        return [normalized(one.weight, 1.0, self.shape) for one in self.layers]  # type: ignore[arg-type]

    def _through(self, x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """``-c (N(x) + b)``, and the slopes of the units on the way."""
        slopes: list[Tensor] = []
        layers = zip(self.layers, self.log_sharpness, weights, strict=True)
        for layer, log_sharpness, weight in layers:
            sharpness = log_sharpness.exp()
            raw = sharpness * F.linear(x, weight) + layer.bias
            slopes.append(torch.sigmoid(raw))
            # Beyond the threshold PyTorch takes the identity: 50 is beyond what float64 resolves.
            x = x - 2 * (F.softplus(raw, threshold=50) / sharpness) @ weight
        return -self.coefficient * (x + self.shift), slopes

    def forward(self, x: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        return self._through(x, self.weights() if weights is None else weights)[0]

    def linearize(
        self, x: Tensor, weights: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tangent]:
        weights = self.weights() if weights is None else weights
        value, slopes = self._through(x, weights)

        def tangent(v: Tensor) -> Tensor:
            for slope, weight in zip(slopes, weights, strict=True):
                v = v - 2 * ((v @ weight.T) * slope) @ weight
            return -self.coefficient * v

        return value, tangent

    def value_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of any contraction: the first layer's Jacobian needs one product, not two."""
        weights = self.weights()
        value, slopes = self._through(x, weights)
        # Tangents in rows: J_kᵀ = J_k of each layer is multiplied from the right.
        rows = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        for number, (slope, weight) in enumerate(zip(slopes, weights, strict=True)):
            given = weight.T if number == 0 else rows @ weight.T
            rows = rows - 2 * (given * slope.unsqueeze(1)) @ weight
        return value, -self.coefficient * rows.mT

    def lipschitz(self) -> float:
        """``c Π max(1, 2 ‖W_k‖² - 1)`` of the weights in use: c, up to their rounding."""
        bound = self.coefficient
        for weight in self.weights():
            bound *= max(1.0, 2 * exact_norm(weight) ** 2 - 1)
        return bound
