"""Certified upper bounds of the norm of a convolution with zero padding and stride 1."""

import math
from functools import partial

import torch
from torch import Tensor

from harness.bijections.spectral import gram_upper_bound

Size = tuple[int, int]
"""Height and width of the images."""


def symbol(kernel: Tensor, size: Size) -> Tensor:
    """The kernel's Fourier transform, a matrix over channels at each frequency of a torus.

    Images of H × W, zero-padded, are images on a torus of (H + K//2) × (W + K//2) that are zero
    outside: what wraps around meets zeros. So the convolution is a part of the one on the torus,
    and its norm at most that one's, which is the largest over the frequencies, for Fourier's
    transform makes it block-diagonal (arXiv 2402.00240 compares the two paddings). A smaller
    image is a part of a larger one, so that the bound holds for it, too.

    Args:
        kernel: Shape ``(M, N, K, K)``, K odd.
        size: Of the largest images.

    Returns:
        Complex, shape ``(frequencies, M, N)``; of two opposite frequencies one is enough.
    """
    taps = kernel.shape[-1]
    # Of one tap the matrix is the same at every frequency.
    torus = [max(length + taps // 2, taps) if taps > 1 else 1 for length in size]
    transformed: Tensor = torch.fft.rfft2(kernel, s=torus)
    return transformed.flatten(2).movedim(2, 0)


def convolution_gram_bound(kernel: Tensor, size: Size, iterations: int = 6) -> Tensor:
    """``‖conv‖₂ ≤ max_f ‖K̂(f)‖₂`` by Gram iteration at each frequency f of :func:`symbol`.

    Differentiable once, with the slope of the frequency where the bound is largest. Delattre et
    al. 2023, arXiv 2305.16173, for circular padding. The norm of the reshaped kernel, in common
    use, can be half of the convolution's and bounds nothing.

    Args:
        kernel: Shape ``(M, N, K, K)``, K odd.
        size: Of the largest images.
        iterations: Of the Gram iteration, at least 1.

    Returns:
        The bound, a scalar of the kernel's dtype.
    """
    if kernel.shape[-1] == 1:
        return gram_upper_bound(kernel[:, :, 0, 0], iterations)
    matrices = symbol(kernel, size)
    with torch.no_grad():
        bounds = torch.vmap(partial(gram_upper_bound, iterations=iterations))(matrices)
    largest = matrices.index_select(0, bounds.argmax().view(1)).squeeze(0)
    # The rounding of the transform, by the taps that each entry adds up.
    taps, rank = kernel[0, 0].numel(), min(kernel.shape[:2])
    rounding = 1 + 4 * taps**1.5 * rank**0.5 * torch.finfo(kernel.dtype).eps
    bound: Tensor = gram_upper_bound(largest, iterations) * rounding
    return bound


def convolution_norm_bound(kernel: Tensor, size: Size) -> float:
    """``max_f ‖K̂(f)‖₂`` by singular value decomposition in float64; inf if not finite."""
    double = kernel.detach().double()
    if not double.isfinite().all():
        return math.inf
    return float(torch.linalg.svdvals(symbol(double, size)).max())
