"""A free network, and a second one that learns to invert it."""

import math
from typing import cast

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.coupling.networks import Conditioner
from harness.bijections.given import check_alike, check_shape


class FreeForm(Bijection):
    """``y = x + f(x)`` and ``x ≈ y + g(y)``: nothing ties g to f (arXiv 2310.16624).

    For vectors ``(B, D)``. Both log-dets are exact, of the map that is applied, by its whole
    Jacobian: D times the cost of an evaluation. (The paper estimates the forward one by way of g,
    for large D.)

    Nothing keeps F injective either, and where it is not, no g inverts it and the change of
    variables is no density. To train g, and to keep F from folding its inputs, is for a loss: the
    regularizer ``reconstruction``. The inverse reports one iteration, and as its residual
    ``‖F(x) - y‖ / (‖F(x)‖ + ‖y‖)`` of the x that it returns; it has converged where that is
    rounding, as for any other inverse, which what was learned will hardly ever be.

    Args:
        network: f, ``(B, D) → (B, D)``, which treats samples apart.
        inverse_network: g, likewise.
    """

    def __init__(self, network: Conditioner, inverse_network: Conditioner) -> None:
        super().__init__()
        self.network, self.inverse_network = network, inverse_network

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(x)
        return _moved(self.network, x)

    def _check(self, x: Tensor) -> None:
        weight = cast(Tensor, self.network.layers[0].weight)
        check_shape("free-form flow", x, (weight.shape[1],))
        check_alike("free-form flow", x, weight)

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        self._check(y)
        x, log_det = _moved(self.inverse_network, y)
        with torch.no_grad():
            again = x + self.network(x)
            off, size, wanted = (one.norm(dim=1) for one in (again - y, again, y))
            residual = off / (size + wanted).clamp_min(torch.finfo(y.dtype).tiny)
        iterations = torch.ones(len(y), dtype=torch.int64, device=y.device)
        converged = residual <= 4 * torch.finfo(y.dtype).eps
        return x, log_det, Convergence(iterations, residual, converged)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``1 + Lip(f)``; none of the inverse, for nothing keeps ``I + J_f`` from singularity."""
        forward = 1 + self.network.lipschitz()
        return BiLipschitz(forward if math.isfinite(forward) else math.inf, math.inf)

    def image(self, box: Box) -> Box:
        """That both summands stem from one x is not used."""
        return box.plus(self.network.image(box))


def _moved(network: Conditioner, x: Tensor) -> tuple[Tensor, Tensor]:
    """``x + network(x)``, and ``log |det|`` of its Jacobian, ``(B,)``."""

    def one(x: Tensor) -> tuple[Tensor, Tensor]:
        value = x + network(x.unsqueeze(0)).squeeze(0)
        return value, value

    jacobian, value = torch.vmap(torch.func.jacrev(one, has_aux=True))(x)
    return value, torch.linalg.slogdet(cast(Tensor, jacobian)).logabsdet
