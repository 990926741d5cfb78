"""What is known of a triangular Jacobian ``J = E + N``, E its diagonal, bounds its gain."""

import math

import torch
from torch import Tensor

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.spectral import exact_norm


def by_entries(diagonal: Box, below: Tensor, relative: Tensor) -> BiLipschitz:
    """From bounds of the entries.

    ``|A| ≤ B`` entry by entry gives ``‖A‖₂ ≤ ‖B‖₂``, so ``‖J‖₂ ≤ ‖diag(sup e) + below‖₂``. And as
    N is nilpotent, ``J⁻¹ = Σ_{k<D} (-E⁻¹N)^k E⁻¹``, so term by term
    ``|J⁻¹| ≤ (I - relative)⁻¹ diag(1 / inf e)``: forward substitution in the worst case.

    Args:
        diagonal: Around E, positive, shape ``(D,)``, float64.
        below: ``|N| ≤ below``, shape ``(D, D)``, strictly lower triangular.
        relative: ``|E⁻¹N| ≤ relative``, likewise.
    """
    forward = exact_norm(torch.diag(diagonal.upper) + below)
    if not relative.isfinite().all():
        return BiLipschitz(forward, math.inf)
    identity = torch.eye(len(below), dtype=below.dtype, device=below.device)
    scale = torch.diag(diagonal.lower.reciprocal())
    worst = torch.linalg.solve_triangular(identity - relative, scale, upper=False)
    return BiLipschitz(forward, exact_norm(worst))


def by_shift(lipschitz: float, dimension: int) -> BiLipschitz:
    """Where E is the identity and ``‖N‖₂ ≤ L``: ``1 + L`` and ``Σ_{k<D} L^k``."""
    return BiLipschitz(1 + lipschitz, _series(lipschitz, dimension))


def by_coupling(coupling: BiLipschitz, dimension: int) -> BiLipschitz:
    """From bounds f and v of the coupling with the same transformer and conditioner.

    Its Jacobian is ``M = [[I, 0], [N, E]]`` where the part that is kept equals the part that is
    changed. ``J = [N, E] [I; I]``, so ``‖J‖₂ ≤ √2 f``. ``M⁻¹ = [[I, 0], [-E⁻¹N, E⁻¹]]``, so both
    ``‖E⁻¹N‖`` and ``‖E⁻¹‖`` are at most v, and ``‖J⁻¹‖₂ ≤ v Σ_{k<D} v^k``.
    """
    forward, inverse = coupling
    return BiLipschitz(math.sqrt(2) * forward, inverse * _series(inverse, dimension))


def smallest(*bounds: BiLipschitz) -> BiLipschitz:
    """The best of several bounds, each way."""
    return BiLipschitz(min(b.forward for b in bounds), min(b.inverse for b in bounds))


def _series(ratio: float, terms: int) -> float:
    """``Σ_{k<terms} ratio^k``, by Horner's rule, which does not raise where it overflows."""
    total = 0.0
    for _ in range(terms):
        total = 1 + ratio * total
    return math.inf if math.isnan(total) else total
