"""The largest singular value of a Jacobian by its products with vectors.

Golub-Kahan-Lanczos bidiagonalisation with full reorthogonalisation, of several inputs at once.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_STEPS = 8
"""Before them no residual is believed."""


class Largest(NamedTuple):
    """The largest singular value of B matrices, as far as the iteration got.

    Attributes:
        value: The largest Ritz value σ, never above ``σ_max``, shape ``(B,)``; NaN where a
            product is not finite.
        error: ``‖Jᵀu - σv‖``: some singular value is within that of σ, shape ``(B,)``.
        vector: The right Ritz vector v of length 1, shape ``(B, D)``.
        steps: How many steps were taken: two products each.
    """

    value: Tensor
    error: Tensor
    vector: Tensor
    steps: int


class Jacobian:
    """``J`` of a function at B points, known by its products; one evaluation of the function.

    ``Jᵀu`` is a backward pass. ``Jv`` is one as well: Jᵀu is linear in u, and its derivative with
    respect to u, times v, is Jv, whatever u is. Cost of a product: two passes at most.

    Args:
        function: ``(B, *shape) → (B, …)``, each sample by itself, twice differentiable.
        x: The points.

    Attributes:
        value: The function's.
        columns: Of J: the dimensions of a point.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
        with torch.enable_grad():
            self._x = x.detach().requires_grad_()
            self._y = function(self._x)
            self._u = torch.zeros_like(self._y, requires_grad=True)
            (self._pulled,) = torch.autograd.grad(self._y, self._x, self._u, create_graph=True)
        self.value, self.columns = self._y.detach(), self._x[0].numel()

    def times(self, v: Tensor) -> Tensor:
        """``Jv``, of directions ``(B, D)``, likewise."""
        (product,) = torch.autograd.grad(
            self._pulled, self._u, v.view_as(self._x), retain_graph=True, materialize_grads=True
        )
        return product.flatten(1)

    def transposed_times(self, u: Tensor) -> Tensor:
        """``Jᵀu``."""
        (product,) = torch.autograd.grad(
            self._y, self._x, u.view_as(self._y), retain_graph=True, materialize_grads=True
        )
        return product.flatten(1)


def largest_singular_value(
    jacobian: Jacobian, start: Tensor, tolerance: float, most_steps: int
) -> Largest:
    """Of each of B Jacobians, until every error is at most ``tolerance`` times its value.

    With the bidiagonal matrix B of the coefficients, ``J V = U B`` and
    ``Jᵀ U = V Bᵀ + β v eᵀ``, so that of a singular triple (p, σ, q) of B the vectors Up, Vq have
    the residual ``β |p_last|`` (Golub and Van Loan, Matrix Computations, 10.4).

    Args:
        jacobian: The products.
        start: Directions to begin with, ``(B, D)``, with a share of every singular vector.
        tolerance: Relative.
        most_steps: Where samples are given up; D are enough, but for rounding.
    """
    diagonal: list[Tensor] = []
    above: list[Tensor] = []
    right, left = [_unit(start)[0]], list[Tensor]()
    least = min(LEAST_STEPS, start.shape[1], most_steps)
    for step in range(1, min(most_steps, start.shape[1]) + 1):
        image = jacobian.times(right[-1])
        u, alpha = _unit(_orthogonal(image, left))
        left.append(u)
        diagonal.append(alpha)
        back = jacobian.transposed_times(u)
        v, beta = _unit(_orthogonal(back, right))
        value, error, inside = _ritz(diagonal, above, beta)
        # A start that is nearly an eigenvector, as any is where most singular values are alike,
        # has a small residual at once, and says nothing yet of the largest.
        ended = ((error <= tolerance * value) & (step >= least)) | ~value.isfinite()
        if ended.all() or step == min(most_steps, start.shape[1]):
            break
        above.append(beta)
        right.append(v)
    vectors = torch.stack(right, 2)
    return Largest(value, error, (vectors @ inside.unsqueeze(-1)).squeeze(-1), step)


def _ritz(
    diagonal: list[Tensor], above: list[Tensor], beta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Value and residual of the largest triple, and its right vector within the Krylov space."""
    bidiagonal = torch.diag_embed(torch.stack(diagonal, 1))
    if above:
        bidiagonal += torch.diag_embed(torch.stack(above, 1), offset=1)
    finite = bidiagonal.flatten(1).isfinite().all(1) & beta.isfinite()
    # LAPACK fails on a matrix that is not finite.
    p, values, q = torch.linalg.svd(torch.where(finite[:, None, None], bidiagonal, 0.0))
    value = torch.where(finite, values[:, 0], torch.nan)
    return value, beta * p[:, -1, 0].abs(), q[:, 0]


def _orthogonal(x: Tensor, others: list[Tensor]) -> Tensor:
    """Less what lies along the others; twice, for once leaves what rounding put there."""
    if others:
        basis = torch.stack(others, 2)
        for _ in range(2):
            x = x - (basis @ (basis.mT @ x.unsqueeze(-1))).squeeze(-1)
    return x


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """A vector of length 1, and the length; of a length of 0, the vector 0: the space has ended."""
    length = torch.linalg.vector_norm(x, dim=1)
    return x / torch.where(length > 0, length, 1.0).unsqueeze(1), length
