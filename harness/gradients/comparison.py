"""How far apart two gradients are: the angle between them, and the relative error."""

import torch
from torch import Tensor

SHORT, LONG = 1e-140, 1e140
"""Between these lengths no square of a float64 overflows, and none that matters vanishes."""


def angle(u: Tensor, v: Tensor) -> Tensor:
    """``2 atan2(‖û - v̂‖, ‖û + v̂‖)`` with ``û = u / ‖u‖``, in radians: ``(…, N), (…, N) → (…)``.

    In float64, and right at every angle: it resolves some 1e-16, where ``acos⟨û, v̂⟩`` cannot tell
    an angle below 1e-8 from 0, nor in float32 one below 3.5e-4 (W. Kahan, "How futile are mindless
    assessments of roundoff", 2006, §12). Two zeros are no angle apart; a zero and anything else a
    right one, for of the direction nothing is left. NaN where a gradient is not finite.
    """
    u, v = _direction(u.double()), _direction(v.double())
    return 2 * torch.atan2(scaled_norm(u - v), scaled_norm(u + v))


def relative_error(u: Tensor, reference: Tensor) -> Tensor:
    """``‖u - r‖ / ‖r‖`` in float64: ``(…, N), (…, N) → (…)``.

    0 where both are zero, inf where the reference alone is; NaN where a gradient is not finite.
    """
    u, reference = u.double(), reference.double()
    error, size = scaled_norm(u - reference), scaled_norm(reference)
    found = torch.where(error == 0, error, error / size)
    finite = (u.isfinite() & reference.isfinite()).all(-1)
    return found.where(finite, torch.full_like(found, torch.nan))


def _direction(u: Tensor) -> Tensor:
    """``u / ‖u‖``, 0 of 0."""
    norm = scaled_norm(u).unsqueeze(-1)
    # Of an entry that is not finite the norm is NaN, or inf over inf makes it so.
    return u / norm.where(norm > 0, torch.ones_like(norm))


def scaled_norm(u: Tensor) -> Tensor:
    """``‖u‖₂`` over the last dimension, ``(…, N) → (…)``; no square overflows or vanishes."""
    norm: Tensor = torch.linalg.vector_norm(u, dim=-1)
    if bool(((norm > SHORT) & (norm < LONG)).all()):
        return norm
    largest = u.abs().amax(-1, keepdim=True)
    usual = torch.isfinite(largest) & (largest > 0)
    scale = largest.where(usual, torch.ones_like(largest))
    scaled: Tensor = torch.linalg.vector_norm(u / scale, dim=-1) * scale.squeeze(-1)
    return scaled
