"""The root of an increasing function by bisection, without a branch on data."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from harness.bijections.base import Convergence

EXTRA_STEPS = 20
"""Beyond one for each bit of the mantissa: for brackets up to 10⁶ times as long as their root."""


@torch.no_grad()
def bisection(
    function: Callable[[Tensor], Tensor], lower: Tensor, upper: Tensor, y: Tensor
) -> tuple[Tensor, Convergence]:
    """``x`` with ``function(x) = y``, elementwise; each step halves the bracket.

    The number of steps depends on the dtype alone, so that networks of a pack can be vectorised,
    and no element's result depends on another.

    Args:
        function: Elementwise and not decreasing, ``(B, …) → (B, …)``.
        lower: Where it is at most y, shape ``(B, …)``.
        upper: Where it is at least y, likewise.
        y: The values to invert, likewise.

    Returns:
        The root, NaN where the function is not finite; and the report, whose last step is half of
        the last bracket.
    """
    eps = torch.finfo(y.dtype).eps
    steps = EXTRA_STEPS - round(math.log2(eps))
    for _ in range(steps):
        middle = lower / 2 + upper / 2  # the sum may overflow where the halves do not
        below = function(middle) < y
        lower, upper = torch.where(below, middle, lower), torch.where(below, upper, middle)
    root = lower / 2 + upper / 2
    # A comparison with NaN is false, and a bracket shrinks whatever is compared.
    root = torch.where(function(root).isfinite(), root, torch.nan)
    step, size = _norm(upper / 2 - lower / 2), _norm(root) + _norm(y)
    residual = torch.where(step == 0, size * 0, step / size)
    iterations = torch.full_like(residual, steps, dtype=torch.int64)
    return root, Convergence(iterations, residual, residual <= 4 * eps)


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return norm
