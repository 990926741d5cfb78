"""The Jacobian of a network at given inputs."""

import torch
from torch import Tensor

from harness.bijections.base import Bijection


def jacobian(flow: Bijection, x: Tensor) -> tuple[Tensor, Tensor]:
    """``J_F(x)`` by one forward pass and D batched vector-Jacobian products.

    Args:
        flow: The network, in the precision of ``x``.
        x: Inputs ``(B, *shape)`` of D dimensions each.

    Returns:
        The Jacobians ``(B, D, D)``, and the log-det ``(B,)`` that the network itself reports.
    """
    x = x.detach().requires_grad_()
    y, log_det = flow(x)
    y = y.flatten(1)
    dimension = y.shape[1]
    basis = torch.eye(dimension, dtype=y.dtype, device=y.device)
    directions = basis.unsqueeze(1).expand(dimension, len(y), dimension)
    (rows,) = torch.autograd.grad(y, x, directions, is_grads_batched=True)
    return rows.flatten(2).transpose(0, 1).detach(), log_det.detach()


def singular_values(jacobians: Tensor) -> tuple[Tensor, Tensor]:
    """Extreme singular values of the finite Jacobians among ``(B, D, D)``.

    LAPACK fails on a non-finite matrix, so those are left out here and counted by the caller.

    Returns:
        ``σ_max`` and ``σ_min``, each of shape ``(number of finite Jacobians,)``.
    """
    finite = jacobians.flatten(1).isfinite().all(1)
    values = torch.linalg.svdvals(jacobians[finite])
    return values[:, 0], values[:, -1]
