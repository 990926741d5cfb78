"""The gradient of a Jacobian's singular value by the input."""

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], tuple[Tensor, ...]]


def slope(function: Map, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``∂/∂x uᵀ J(x) v``: of ``σ = uᵀ J v``, whose singular vectors need no derivative.

    ``dσ = uᵀ dJ v``, as ``uᵀu = vᵀv = 1`` hold u and v in place (Stewart and Sun, Matrix
    Perturbation Theory, IV.2); for a simple σ. Cost: a pass, one back, and one back through both.

    Args:
        function: ``(B, *shape) → (B, …)`` first of what it returns, each sample by itself, twice
            differentiable.
        x: Inputs ``(B, *shape)``.
        left: u, ``(B, D)``.
        right: v, ``(B, D)``.

    Returns:
        ``(B, *shape)``; zeros where J is the same everywhere.

    Raises:
        RuntimeError: A backward pass cannot be differentiated.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)[0].flatten(1)
        (row,) = torch.autograd.grad((y * left).sum(), x, create_graph=True)
        sigma = (row.flatten(1) * right).sum()
        if not sigma.requires_grad:
            return torch.zeros_like(x)
        (found,) = torch.autograd.grad(sigma, x, materialize_grads=True)
    return found.detach()
