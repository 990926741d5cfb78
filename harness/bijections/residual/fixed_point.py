"""The inverse of ``y = x + g(x)`` by fixed-point iteration, each sample on its own."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.bijections.base import Convergence
from harness.bijections.residual.anderson import Anderson


@torch.no_grad()
def fixed_point(
    g: Callable[[Tensor], Tensor],
    y: Tensor,
    maximum_iterations: int,
    *,
    parts: int = 1,
    accelerated: bool = False,
) -> tuple[Tensor, Convergence]:
    """``x ← y - g(x)`` from ``x = y``; with ``Lip(g) = c < 1`` the error shrinks by c a step.

    No sample's result depends on another sample, for one that has ended is not touched again.

    Args:
        g: ``(B, D) → (B, D)``; it is given fewer samples once others have ended.
        y: Shape ``(B, D)``.
        maximum_iterations: Where a sample that still moves is given up.
        parts: g treats as many equal parts of its samples each in its way, and is always given
            as many samples of each.
        accelerated: Take the points of :class:`Anderson` instead.
            An iteration is one evaluation of g either way, and ends by the same criterion.
    """
    anderson = Anderson() if accelerated else None
    tolerance = 4 * torch.finfo(y.dtype).eps
    x, iterations = y.clone(), torch.zeros(len(y), dtype=torch.int64, device=y.device)
    residual = torch.full_like(y[:, 0], torch.inf)
    # Of the samples that g is given: which they are, where they are, and which still move.
    which, last, target = torch.arange(len(y), device=y.device), y, y
    moving = torch.ones(len(y), dtype=torch.bool, device=y.device)
    for count in range(1, maximum_iterations + 1 if len(y) else 0):
        new = target - g(last)
        size = torch.linalg.vector_norm(new, dim=1) + torch.linalg.vector_norm(target, dim=1)
        step = torch.linalg.vector_norm(new - last, dim=1)
        # A sample that is exactly 0 has no relative step.
        step = torch.where(step == 0, step, step / size)
        # Written so that a NaN stops too: it can never shrink.
        still = moving & (step > tolerance)
        ending = (moving if count == maximum_iterations else moving & ~still).nonzero().squeeze(1)
        last, moving = anderson.next(last, new) if anderson else new, still
        if len(ending) == 0:
            continue
        ended = which[ending]
        x[ended], residual[ended], iterations[ended] = new[ending], step[ending], count
        of_part = moving.view(parts, -1)
        most = int(of_part.sum(1).max())
        if most == 0:
            break
        # Fewer samples are faster, but to pick them out costs as much as some iterations.
        if most < 0.75 * of_part.shape[1]:
            first = torch.arange(0, len(moving), of_part.shape[1], device=y.device).unsqueeze(1)
            left = (of_part.argsort(dim=1, descending=True)[:, :most] + first).flatten()
            which, last, target, moving = (one[left] for one in (which, last, target, moving))
            if anderson:
                anderson.keep(left)
    return x, Convergence(iterations, residual, residual <= tolerance)
