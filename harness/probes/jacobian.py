"""The Jacobian of a network at given inputs."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.probes.dense_convolution import DenseConvolutions

LARGEST = 2**25
"""Most entries of the Jacobians that are held at a time: 256 MiB in float64."""


class Spectra(NamedTuple):
    """What is asked of the Jacobians at B inputs, NaN where a Jacobian is not finite.

    Attributes:
        largest: ``σ_max(J)``, shape ``(B,)``.
        smallest: ``σ_min(J)``, shape ``(B,)``.
        log_abs_det: ``log |det J|`` by LU decomposition, shape ``(B,)``.
        finite: Which Jacobians are finite, shape ``(B,)``.
    """

    largest: Tensor
    smallest: Tensor
    log_abs_det: Tensor
    finite: Tensor

    def resolved(self, dimension: int) -> Tensor:
        """Where σ_min is a number: singular values are known to within about ``D ε σ_max``.

        A smaller one is rounding; so is then its share of the determinant.
        """
        return self.smallest > dimension * torch.finfo(self.largest.dtype).eps * self.largest


def jacobian(flow: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """``J_F(x)``, shape ``(B, D, D)``, by one forward pass and D batched vector-Jacobian products.

    Args:
        flow: The network, in the precision of ``x``, or its inverse.
        x: Inputs ``(B, *shape)`` of D dimensions each.
    """
    x = x.detach().requires_grad_()
    with DenseConvolutions():
        y, _ = flow(x)
    y = y.flatten(1)
    dimension = y.shape[1]
    basis = torch.eye(dimension, dtype=y.dtype, device=y.device)
    directions = basis.unsqueeze(1).expand(dimension, len(y), dimension)
    (rows,) = torch.autograd.grad(y, x, directions, is_grads_batched=True)
    return rows.flatten(2).transpose(0, 1).detach()


def spectra(flow: Bijection, x: Tensor) -> Spectra:
    """Singular values and determinants of the Jacobians at ``x``, a part of them at a time."""
    at_a_time = max(1, LARGEST // x[0].numel() ** 2)
    parts = [_spectra(jacobian(flow, part)) for part in torch.split(x, at_a_time)]
    return Spectra(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _spectra(jacobians: Tensor) -> Spectra:
    # LAPACK fails on a matrix that is not finite.
    finite = jacobians.flatten(1).isfinite().all(1)
    found = jacobians.new_full((3, len(jacobians)), torch.nan)
    values = torch.linalg.svdvals(jacobians[finite])
    found[0, finite], found[1, finite] = values[:, 0], values[:, -1]
    found[2, finite] = torch.linalg.slogdet(jacobians[finite]).logabsdet
    return Spectra(found[0], found[1], found[2], finite)
