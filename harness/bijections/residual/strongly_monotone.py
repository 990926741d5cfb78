"""A block with both Lipschitz constants certified, in place of bounds that grow while it trains."""

import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.residual.nonexpansive import Nonexpansive
from harness.bijections.residual.residual import Residual


class StronglyMonotone(Bijection):
    """``y = m x - r N(x)`` with N nonexpansive, ``m = (ν + μ) / 2`` and ``r = (ν - μ) / 2``.

    F is μ-strongly monotone and ν-Lipschitz: with d the change of x,
    ``⟨F(x + d) - F(x), d⟩ ≥ (m - r) ‖d‖² = μ ‖d‖²`` and ``‖F(x + d) - F(x)‖ ≤ (m + r) ‖d‖``. These
    are just the maps of the monotone layers of BiLipNet (arXiv 2402.01344), whose constraint
    ``⟨ΔF - μd, νd - ΔF⟩ ≥ 0`` says that ``‖ΔF - m d‖ ≤ r ‖d‖``; here N is a
    :class:`~harness.bijections.residual.nonexpansive.Nonexpansive` network.

    ``F = m (x + g(x))`` with ``Lip(g) ≤ (ν - μ) / (ν + μ)``: log-det and inverse are those of the
    residual block (accelerated fixed point, exact log-det at a cost of D³).

    Args:
        dimension: D, of vectors.
        width: Hidden units of a layer of N.
        layers: Layers of N.
        smallest: μ, above 0.
        largest: ν, above μ.
        generator: Draws the weights.
        maximum_iterations: Where the inverse gives up and reports that it did not converge.

    Raises:
        ValueError: Not ``0 < smallest < largest``, or a size below 1.
    """

    def __init__(
        self,
        dimension: int,
        width: int,
        layers: int,
        smallest: float,
        largest: float,
        generator: torch.Generator,
        maximum_iterations: int = 1000,
    ) -> None:
        super().__init__()
        if not 0 < smallest < largest < math.inf:
            message = "strongly monotone block: 'smallest' must be above 0 and below 'largest', not"
            raise ValueError(f"{message} {smallest} beside {largest}")
        self.mean = (largest + smallest) / 2
        coefficient = (largest - smallest) / (largest + smallest)
        network = Nonexpansive(dimension, width, layers, coefficient, generator)
        self.residual = Residual(network, maximum_iterations, accelerated=True)

    def _log_mean(self, x: Tensor) -> float:
        return x.shape[1] * math.log(self.mean)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = self.residual(x)
        return self.mean * y, log_det + self._log_mean(x)

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        # In the dtype that was given: the residual block refuses another than its own.
        scaled = (y / self.mean).to(y.dtype)
        x, log_det, report = self.residual.inverse_with_convergence(scaled)
        return x, log_det - self._log_mean(y), report

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """ν and 1/μ: the certificate, the same for all weights, up to their rounding."""
        found = self.residual.bounds()
        return BiLipschitz(self.mean * found.forward, found.inverse / self.mean)

    @torch.no_grad()
    def image(self, box: Box) -> Box:
        return self.residual.image(box).increasing(lambda end: self.mean * end)
