"""The log-det of a neural ODE: what is integrated beside x.

A solver's map is not the flow of the ODE. :class:`OfSteps` is the log-det of the map that the
solver makes, exactly; the others integrate the instantaneous change of variables,
``d log |det J| / dt = tr J_f`` (arXiv 1806.07366), and err by as much as the solver does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.bijections.continuous.vector_field import FieldTangent
from harness.bijections.given import check_least
from harness.bijections.residual.log_determinant import Estimator, one_each, random_signs


class FlowLogDeterminant(Estimator):
    """A quantity that each step of the solver integrates anew beside x."""

    def start(self, x: Tensor) -> Tensor:
        """Its value before a step, ``(B, …)``."""
        raise NotImplementedError

    def rate(self, tangent: FieldTangent, x: Tensor, carried: Tensor) -> Tensor:
        """Its derivative, by that of the vector field, ``v ↦ J_f v`` of ``(B, K, D)``."""
        raise NotImplementedError

    def total(self, ends: Sequence[Tensor]) -> Tensor:
        """The log-det ``(B,)``, by its values after all steps."""
        raise NotImplementedError


class OfSteps(FlowLogDeterminant):
    """``Σ log |det J|`` of the solver's steps: exact for the map that is computed.

    Beside x runs the variational equation ``V' = J_f V`` from ``V = I``, by the same method: V is
    then the Jacobian of the step, whatever its size. It costs D products with ``J_f`` an
    evaluation, and D³ a step.
    """

    def start(self, x: Tensor) -> Tensor:
        return _identity(x)

    def rate(self, tangent: FieldTangent, x: Tensor, carried: Tensor) -> Tensor:
        return tangent(carried)

    def total(self, ends: Sequence[Tensor]) -> Tensor:
        log_det: Tensor = torch.linalg.slogdet(torch.stack(list(ends))).logabsdet.sum(0)
        return log_det

    @staticmethod
    def jacobian(ends: Sequence[Tensor]) -> Tensor:
        """``J_F = J_N … J_1``, shape ``(B, D, D)``, of ends which are transposed."""
        product, *rest = ends
        for end in rest:
            product = product @ end
        return product.mT


class Trace(FlowLogDeterminant):
    """``∫ tr J_f dt`` with the exact trace: D products with ``J_f`` an evaluation."""

    def start(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))

    def rate(self, tangent: FieldTangent, x: Tensor, carried: Tensor) -> Tensor:
        return tangent(_identity(x)).diagonal(dim1=1, dim2=2).sum(1)

    def total(self, ends: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(ends)).sum(0)


class Hutchinson(Trace):
    """``∫ vᵀ J_f v dt`` with random signs v, the same all the way (FFJORD, arXiv 1810.01367).

    One product with ``J_f`` an evaluation. Sample b of a batch has row ``b mod rows`` of the
    buffer ``signs`` for its v, which only
    :func:`resample` changes. Unbiased for :class:`Trace`.

    Args:
        size: D, the dimensions of an input.
        generator: Draws the first signs.
        rows: How many there are.
    """

    signs: Tensor

    def __init__(self, size: int, generator: torch.Generator, rows: int = 64) -> None:
        super().__init__()
        check_least("trace estimate", 1, size=size, rows=rows)
        self.register_buffer("signs", random_signs((rows, size), generator))

    def rate(self, tangent: FieldTangent, x: Tensor, carried: Tensor) -> Tensor:
        v = one_each(self.signs, x).unsqueeze(1)
        return (v * tangent(v)).flatten(1).sum(1)

    @torch.no_grad()
    def resample(self, generator: torch.Generator) -> None:
        self.signs.copy_(random_signs(self.signs.shape, generator))


def _identity(x: Tensor) -> Tensor:
    return torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
