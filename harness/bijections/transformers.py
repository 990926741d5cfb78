"""Elementwise transformers of a coupling."""

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from harness import registry
from harness.bijections.base import BiLipschitz, Convergence
from harness.bijections.scale_maps import ScaleMap
from harness.registry import Nested, entry


class Transformer(nn.Module):
    """An elementwise bijection ``x ↦ y`` with parameters from the conditioner.

    A closed form implements :meth:`inverse`; one that iterates implements
    :meth:`inverse_with_convergence` instead.

    Attributes:
        parameters_per_element: How many numbers of the conditioner each element takes.
    """

    parameters_per_element: int

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """``(y, log |dy/dx|)``, both of x's shape; ``h`` has ``parameters_per_element`` times
        as many channels (dimension 1) as ``x``."""  # noqa: D205, D209
        raise NotImplementedError

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """``(x, log |dx/dy|)``."""
        x, log_derivative, _ = self.inverse_with_convergence(y, h)
        return x, log_derivative

    def inverse_with_convergence(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Convergence]:
        """As :meth:`inverse`, and how its iteration ended, per sample."""
        x, log_derivative = self.inverse(y, h)
        return x, log_derivative, Convergence.closed_form(y)

    def gradients(
        self, x: Tensor, h: Tensor, by_y: Tensor, by_log: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of x and of h, given those of what :meth:`forward` returns.

        Optional: packs of vectors train faster where a transformer without parameters has it.
        """
        raise NotImplementedError

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """Global bounds of the coupling whose conditioner has that Lipschitz bound."""
        raise NotImplementedError


class Additive(Transformer):
    """``y = x + h``: NICE (arXiv 1410.8516)."""

    parameters_per_element = 1

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return x + h, torch.zeros_like(x)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return y - h, torch.zeros_like(y)

    def gradients(
        self, x: Tensor, h: Tensor, by_y: Tensor, by_log: Tensor
    ) -> tuple[Tensor, Tensor]:
        return by_y, by_y

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """``(L + √(L² + 4)) / 2`` both ways: the norm of [[I, 0], [J_t, I]] where ‖J_t‖ = L.

        Tight at a point where ``‖J_t‖₂ = L``; sharper than the ``1 + L`` of arXiv 2006.09347.
        """
        bound = (conditioner_lipschitz + math.hypot(conditioner_lipschitz, 2)) / 2
        return BiLipschitz(bound, bound)


class Affine(Transformer):
    """``y = x · g(h₁) + h₂``: RealNVP's order, scale then shift (arXiv 1605.08803)."""

    parameters_per_element = 2

    def __init__(self, scale: ScaleMap) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = h.chunk(2, dim=1)
        return torch.addcmul(shift, x, self.scale.value(raw)), self.scale.log(raw)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = h.chunk(2, dim=1)
        return (y - shift) * self.scale.reciprocal(raw), -self.scale.log(raw)

    def gradients(
        self, x: Tensor, h: Tensor, by_y: Tensor, by_log: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``dg = g · d log g``, so all that is needed of g is its value and its log's slope."""
        raw, _ = h.chunk(2, dim=1)
        by_x = by_y * self.scale.value(raw)
        by_raw = torch.addcmul(by_log, by_x, x) * self.scale.log_slope(raw)
        return by_x, torch.cat([by_raw, by_y], dim=1)

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """None: ``∂y₂/∂x₁ = x₂ g'(h₁) ∂h₁/∂x₁ + …`` grows with ``|x₂|``, whatever g is.

        Every scale map has bounds on a box only (arXiv 2006.09347, theorem on affine blocks).
        The one exception is a conditioner that is constant.
        """
        if conditioner_lipschitz > 0:
            return BiLipschitz(math.inf, math.inf)
        lower, upper = self.scale.lower, self.scale.upper
        return BiLipschitz(max(1.0, upper), max(1.0, 1 / lower) if lower > 0 else math.inf)


@entry(version=1)
def additive() -> Transformer:
    """Shift by h: bounded both ways by the conditioner."""
    return Additive()


@entry(version=1)
def affine(
    *,
    scale: Annotated[dict[str, Any], Nested("scale_map")] = "sigmoid",  # type: ignore[assignment]
) -> Transformer:
    """Scale by g(h₁), then shift by h₂: no global bound."""
    return Affine(registry.build("scale_map", scale))
