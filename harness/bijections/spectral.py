"""Certified upper bounds of the spectral norm of linear maps.

A power iteration approaches the norm from below, so a layer divided by it can still expand.
These bounds hold from above.
"""

import math

import torch
from torch import Tensor


def gram_upper_bound(weight: Tensor, iterations: int = 6) -> Tensor:
    """Gram iteration: ``‖W‖₂ ≤ ‖(WᵀW)^(2^k)‖_F^(1/2^(k+1))``, differentiable, no state.

    Each iteration squares the Gram matrix after dividing by its Frobenius norm; the bound
    exceeds the norm by a factor of at most ``rank(W)^(1/2^(k+2))``: 1.02 at rank 64, k = 6.
    Delattre et al. 2023, arXiv 2305.16173.

    Args:
        weight: A matrix, shape ``(M, N)``.
        iterations: ``k ≥ 1``.

    Returns:
        The bound, a scalar of the weight's dtype.
    """
    tiny, eps = torch.finfo(weight.dtype).tiny, torch.finfo(weight.dtype).eps
    # By the largest entry first: its square may overflow or vanish where the norm does not.
    largest = weight.detach().abs().amax().clamp_min(tiny)
    frobenius = torch.linalg.matrix_norm(weight / largest).clamp_min(tiny)
    unit = weight / largest / frobenius
    gram = unit.T @ unit if weight.shape[0] >= weight.shape[1] else unit @ unit.T
    # With G_i = (G_{i-1} / n_i)² and n_i = ‖G_{i-1}‖_F: ‖G_0‖₂ = n_1 √n_2 ⁴√n_3 … ‖G_k‖₂^(1/2^k).
    log_norm = weight.new_zeros(())
    for iteration in range(iterations + 1):
        size = torch.linalg.matrix_norm(gram).clamp_min(tiny)
        log_norm = log_norm + size.log() / 2**iteration
        if iteration < iterations:
            gram = gram / size
            gram = gram @ gram
    # The rounding of the products, so that the bound holds in this precision too.
    rounding = 1 + 2 * sum(weight.shape) * eps
    bound: Tensor = largest * frobenius * (log_norm / 2).exp() * rounding
    return bound


def convolution_upper_bound(kernel: Tensor) -> float:
    """``‖conv‖₂ ≤ Σ_{i,j} ‖K[:, :, i, j]‖₂`` for stride 1 and zero padding, at any image size.

    Each tap of the kernel is a shift, of norm at most 1, times a matrix over channels; the norm
    of a sum is at most the sum of norms. The norm of the reshaped kernel, in common use, can be
    smaller than the norm of the convolution and bounds nothing.

    Args:
        kernel: Shape ``(C_out, C_in, K, K)``.
    """
    return sum(exact_norm(tap) for tap in kernel.flatten(2).permute(2, 0, 1))


def exact_norm(weight: Tensor) -> float:
    """``‖W‖₂`` by singular value decomposition in float64; inf if W is not finite."""
    return singular_range(weight)[0]


def singular_range(weight: Tensor) -> tuple[float, float]:
    """``σ_max`` and ``σ_min`` in float64; inf and 0, what bounds nothing, if W is not finite.

    LAPACK fails on a matrix that is not finite, and a network that diverged has such weights.
    """
    double = weight.detach().double()
    if not double.isfinite().all():
        return math.inf, 0.0
    values = torch.linalg.svdvals(double)
    return float(values[0]), float(values[-1])
