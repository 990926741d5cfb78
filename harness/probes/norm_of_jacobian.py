"""The norm of a Jacobian, by products with it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STEPS = 40
TOLERANCE = 1e-3


class Norm(NamedTuple):
    """Of the Jacobians at B inputs, ``(B,)`` each.

    Attributes:
        norm: An estimate of ``σ_max(J)`` from below; not finite where the Jacobian is not.
        converged: Whether some singular value is within ``TOLERANCE · norm``; for a random start
            it is the greatest one, unless others are nearly as large.
    """

    norm: Tensor
    converged: Tensor


def norm_of_jacobian(function: Callable[[Tensor], Tensor], x: Tensor, start: Tensor) -> Norm:
    """Golub-Kahan bidiagonalisation, ``J V = U B``, with full reorthogonalisation.

    ``σ_max(B)`` with the left singular vector p; the residual ``‖Jᵀ U p - σ V q‖`` is
    ``β_k |p_k|``. Golub & Kahan 1965 (doi 10.1137/0702016).

    Cost: a pass, and up to :data:`STEPS` times two products with the Jacobian, of all inputs at
    once; those with J by differentiating ``Jᵀu`` by u, in which it is linear.

    Args:
        function: Treats samples apart, ``(B, *shape) → (B, …)``.
        x: Inputs ``(B, *shape)`` of D dimensions each.
        start: Directions to begin with, ``(B, D)`` or more columns, of which the first are taken.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)
        cotangent = torch.zeros_like(y, requires_grad=True)
        (pulled,) = torch.autograd.grad(y, x, cotangent, create_graph=True)
    dimension = x[0].numel()
    v, _ = _unit(start[:, :dimension])
    right: list[Tensor] = [v]
    left: list[Tensor] = []
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    norm, converged = _nothing(v)
    for _ in range(min(STEPS, dimension)):
        (pushed,) = torch.autograd.grad(pulled, cotangent, v.view_as(x), retain_graph=True)
        u, alpha = _unit(_orthogonal(pushed.flatten(1), left))
        left.append(u)
        (back,) = torch.autograd.grad(y, x, u.view_as(y), retain_graph=True)
        v, beta = _unit(_orthogonal(back.flatten(1), right))
        right.append(v)
        diagonal.append(alpha)
        beside.append(beta)
        norm, converged = _greatest(torch.stack(diagonal, 1), torch.stack(beside, 1))
        if converged.all():
            break
    return Norm(norm, converged)


def _greatest(diagonal: Tensor, beside: Tensor) -> tuple[Tensor, Tensor]:
    """``σ_max`` of the bidiagonal matrices, and whether its residual is small; ``(B, k)``."""
    matrices = torch.diag_embed(diagonal) + torch.diag_embed(beside[:, :-1], offset=1)
    finite = matrices.flatten(1).isfinite().all(1)
    norm, converged = _nothing(diagonal)
    left, values, _ = torch.linalg.svd(matrices[finite])  # LAPACK fails on the others
    norm[finite] = values[:, 0]
    residual = beside[finite, -1] * left[:, -1, 0].abs()
    converged[finite] = residual <= TOLERANCE * values[:, 0]
    return norm, converged | ~finite


def _nothing(like: Tensor) -> tuple[Tensor, Tensor]:
    batch = len(like)
    no = torch.zeros(batch, dtype=torch.bool, device=like.device)
    return like.new_full((batch,), torch.nan), no


def _orthogonal(vectors: Tensor, basis: list[Tensor]) -> Tensor:
    """Without their parts along a basis, ``(B, D)``; twice, for once leaves rounding."""
    if not basis:
        return vectors
    known = torch.stack(basis, 2)
    for _ in range(2):
        parts = (known.transpose(1, 2) @ vectors.unsqueeze(2)).squeeze(2)
        vectors = vectors - (known @ parts.unsqueeze(2)).squeeze(2)
    return vectors


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Of length 1, and the lengths; what is 0 stays 0, where the space is exhausted."""
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    return vectors / lengths.clamp_min(torch.finfo(vectors.dtype).tiny).unsqueeze(1), lengths
