"""Residual steps with momentum: invertible for any f, at a gain that grows with each step."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.coupling.networks import Conditioner
from harness.bijections.given import check_layer

Matrix = tuple[float, float, float, float]
"""``[[a, b], [c, d]]`` of numbers that are not negative."""


class MomentumResidual(Bijection):
    """``v ← γ v + (1 - γ) f_k(x)``, then ``x ← x + v``, for k = 1 … L (arXiv 2102.07870).

    x and v are the halves of the input along dimension 1. A step undone is ``x ← x - v``, then
    ``v ← (v - (1 - γ) f_k(x)) / γ``: f need not be a contraction, and nothing is iterated. But v is
    divided by γ, and so is its rounding: L steps back amplify it by ``γ^-L``.
    ``log |det J| = L · n · log γ`` with n numbers in a half.

    Args:
        networks: f_1 … f_L, each of outputs in the shape of its inputs.
        momentum: γ, in (0, 1).

    Raises:
        ValueError: No networks, or a momentum out of (0, 1); in a call, the input has no halves.
    """

    def __init__(self, networks: Sequence[Conditioner], momentum: float) -> None:
        super().__init__()
        name = "momentum residual block"
        if not networks:
            raise ValueError(f"{name}: 'networks' must hold at least one")
        if not 0 < momentum < 1:
            raise ValueError(f"{name}: momentum must be above 0 and below 1, not {momentum}")
        self.networks, self.momentum = nn.ModuleList(networks), momentum

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim < 2 or x.shape[1] % 2:
            message = "momentum residual block: the input's dimension 1 must be even, not of shape"
            raise ValueError(f"{message} {tuple(x.shape)}")
        first, second = x.chunk(2, dim=1)
        network = cast(Conditioner, self.networks[0])
        check_layer("momentum residual block", first, cast(Tensor, network.layers[0].weight))
        return first, second

    def _log_det(self, x: Tensor) -> Tensor:
        of_a_step = math.prod(x.shape[1:]) // 2 * math.log(self.momentum)
        return x.new_full((len(x),), len(self.networks) * of_a_step)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        position, velocity = self._halves(x)
        for network in self.networks:
            velocity = self.momentum * velocity + (1 - self.momentum) * network(position)
            position = position + velocity
        return _joined(position, velocity), self._log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        position, velocity = self._halves(y)
        for network in reversed(self.networks):
            position = position - velocity
            velocity = (velocity - (1 - self.momentum) * network(position)) / self.momentum
        return _joined(position, velocity), -self._log_det(y)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """Norms of ``Π [[1 + a_k, γ], [a_k, γ]]`` and of ``Π [[1, 1], [a_k/γ, (1 + a_k)/γ]]``.

        With ``a_k = (1 - γ) Lip(f_k)``. A step's Jacobian is ``[[I + A, γI], [A, γI]]`` and its
        inverse ``[[I, -I], [-A/γ, (I + A)/γ]]`` with ``A = (1 - γ) J_f``. The norms of the blocks
        of a product are at most the product of the matrices of blocks' norms, and the norm of a
        block matrix at most that of its matrix of norms. So the matrices are multiplied, and not
        their norms, which would lose a factor at each step: both bounds are tight where every
        ``J_f`` is ``Lip(f) I``. The inverse's is never below ``γ^-L``.
        """
        gamma = self.momentum
        forward = inverse = (1.0, 0.0, 0.0, 1.0)
        for network in self.networks:
            a = (1 - gamma) * cast(Conditioner, network).lipschitz()
            forward = _product((1 + a, gamma, a, gamma), forward)
            inverse = _product(inverse, (1.0, 1.0, a / gamma, (1 + a) / gamma))
        return BiLipschitz(_norm(forward), _norm(inverse))

    def image(self, box: Box) -> Box:
        position, velocity = (
            Box(*ends) for ends in zip(*(end.chunk(2) for end in box), strict=True)
        )
        gamma = self.momentum
        for network in self.networks:
            push = cast(Conditioner, network).image(position)
            kept, added = (
                one.increasing(lambda end, by=factor: by * end)  # type: ignore[misc]
                for one, factor in ((velocity, gamma), (push, 1 - gamma))
            )
            velocity = kept.plus(added)
            position = position.plus(velocity)
        return Box(*(_joined(*ends, dim=0) for ends in zip(position, velocity, strict=True)))


def _joined(position: Tensor, velocity: Tensor, dim: int = 1) -> Tensor:
    return torch.cat([position, velocity], dim=dim)


def _product(one: Matrix, other: Matrix) -> Matrix:
    a, b, c, d = one
    e, f, g, h = other
    return a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h


def _norm(matrix: Matrix) -> float:
    """``σ₁``, from ``σ₁ ± σ₂ = √(‖A‖_F² ± 2 det A)``; inf where it is not known."""
    a, b, c, d = matrix
    norm = (math.hypot(a + d, b - c) + math.hypot(a - d, b + c)) / 2
    return norm if math.isfinite(norm) else math.inf
