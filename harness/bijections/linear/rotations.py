"""Orthogonal matrices from unconstrained numbers: functions of tensors, without state.

``C`` channels, ``K`` reflections.
"""

import torch
from torch import Tensor


def householder_product(vectors: Tensor) -> Tensor:
    """``H₁ H₂ … H_K`` with ``H_k = I - 2 v_k v_kᵀ / ‖v_k‖²``, in one step.

    ``Π H_k = I - V S⁻¹ Vᵀ`` with unit columns v_k in V and ``S = triu(VᵀV, 1) + I / 2``: the
    compact form of Joffrain et al. 2006 (doi 10.1145/1141885.1141886). With C reflections every
    orthogonal matrix of determinant ``(-1)^C`` is reached.

    Args:
        vectors: The v_k, shape ``(C, K)``; their lengths do not matter.

    Returns:
        Shape ``(C, C)``; NaN if a vector is zero.
    """
    unit = vectors / torch.linalg.vector_norm(vectors, dim=0)
    half = identity(vectors.shape[1], vectors) / 2
    inner = torch.triu(unit.T @ unit, 1) + half
    solved = torch.linalg.solve_triangular(inner, unit.T, upper=True)
    return orthonormalised(identity(vectors.shape[0], vectors) - unit @ solved)


def cayley(free: Tensor) -> Tensor:
    """``(I + A)⁻¹ (I - A)`` with A skew: every rotation without an eigenvalue of -1.

    Its angles are ``2 arctan ω`` for the eigenvalues ``±iω`` of A. ``I + A`` has no singular
    value below 1, so it can always be solved. Cayley 1846; for networks arXiv 1707.09520.

    Args:
        free: Shape ``(C, C)``; only what is below the diagonal counts.
    """
    skew, one = skew_symmetric(free), identity(len(free), free)
    return orthonormalised(torch.linalg.solve_ex(one + skew, one - skew).result)


def exponential(free: Tensor) -> Tensor:
    """``exp(A)`` with A skew: every rotation (arXiv 1901.08428).

    Args:
        free: Shape ``(C, C)``; only what is below the diagonal counts.
    """
    skew = skew_symmetric(free)
    # In half precision torch 2.13 gives NaN or numbers from anywhere, and raises nothing.
    wide = skew.float() if skew.dtype in (torch.bfloat16, torch.float16) else skew
    return orthonormalised(torch.linalg.matrix_exp(wide).to(skew.dtype))


def skew_symmetric(free: Tensor) -> Tensor:
    """``A = L - Lᵀ`` with L what is below the diagonal."""
    lower = torch.tril(free, -1)
    return lower - lower.T


def orthonormalised(matrix: Tensor) -> Tensor:
    """One step towards the nearest orthogonal matrix, ``W (3I - WᵀW) / 2`` (Newton-Schulz).

    ``‖WᵀW - I‖`` is squared by it. What came out of a solve or a matrix exponential is off by
    several hundred ε where A is large (float32, 64 channels, ‖A‖ ~ 100: 7e-5 and 3e-4), and the
    inverse is the transpose, so that would be its error.
    """
    # What is off is small: its rounding too, where 3I - WᵀW would round anew at the size of 3.
    off = matrix.T @ matrix - identity(len(matrix), matrix)
    return matrix - matrix @ off / 2


def identity(size: int, like: Tensor) -> Tensor:
    """The identity in a tensor's dtype and on its device."""
    return torch.eye(size, dtype=like.dtype, device=like.device)
