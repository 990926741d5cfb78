"""Invertible residual block."""

import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.fixed_point import fixed_point
from harness.bijections.lipschitz_network import LipschitzNetwork


def _plus_identity(matrices: Tensor) -> Tensor:
    size, like = matrices.shape[-1], matrices
    return matrices + torch.eye(size, dtype=like.dtype, device=like.device)


class Residual(Bijection):
    """``y = x + g(x)`` with ``Lip(g) = c < 1`` (i-ResNet, arXiv 1811.00995).

    The log-det is exact, ``log |det(I + J_g)|`` from the explicit Jacobian, so its cost grows as
    D³. The inverse is the fixed point of ``x ← y - g(x)``, whose error shrinks by c a step.

    Args:
        network: g.
        maximum_iterations: Where the inverse gives up and reports that it did not converge.
    """

    def __init__(self, network: LipschitzNetwork, maximum_iterations: int = 1000) -> None:
        super().__init__()
        self.network = network
        self.maximum_iterations = maximum_iterations

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        value, core = self.network.value_and_core(x)
        return x + value, torch.linalg.slogdet(_plus_identity(core)).logabsdet

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        weights = self.network.weights()  # normalised once, not in every iteration
        x, report = fixed_point(lambda x: self.network(x, weights), y, self.maximum_iterations)
        if torch.is_grad_enabled():
            # Implicit function theorem: x moves by (I + J)⁻¹ (dy - dg). The residual y - x - g(x)
            # carries that derivative, at the memory of one evaluation; its value is taken out.
            # First derivatives only: the Jacobian in the solve is a constant.
            value, jacobian = self.network.value_and_jacobian(x)
            residual = (y - x - value).unsqueeze(-1)
            solved = torch.linalg.solve(_plus_identity(jacobian).detach(), residual).squeeze(-1)
            x = x + (solved - solved.detach())
        _, log_det = self(x)
        return x, -log_det, report

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``1 + c`` and ``1 / (1 - c)`` (arXiv 1811.00995, lemma 2)."""
        c = self.network.lipschitz()
        return BiLipschitz(1 + c, 1 / (1 - c) if c < 1 else math.inf)
