"""Couplings of S networks as one node of the graph."""

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from harness.bijections.base import sum_per_sample
from harness.bijections.coupling import Coupling
from harness.bijections.transformers import Transformer
from harness.training.batched_layers import BatchedPerceptron, Perceptron, apart


class _Coupling(Function):
    @staticmethod
    def forward(ctx: Any, coupling: Coupling, x: Tensor, *parameters: Tensor) -> Any:
        kept, changed = coupling.split(x)
        path = Perceptron(parameters).forward(apart(kept, len(parameters[0])))
        h = path[-1].flatten(0, 1)
        y, log_derivative = coupling.transformer(changed, h)
        ctx.coupling = coupling
        ctx.save_for_backward(changed, h, *path[:-1], *parameters)
        return coupling.join(kept, y), sum_per_sample(log_derivative)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_y: Tensor, by_log_det: Tensor) -> tuple[Tensor | None, ...]:
        coupling: Coupling = ctx.coupling
        changed, h, *rest = ctx.saved_tensors
        middle = len(rest) // 2  # as in a perceptron's node
        path, parameters = rest[:middle], rest[middle:]
        by_kept, by_changed = coupling.split(by_y)
        by_log = by_log_det.unsqueeze(1)  # the same for every element
        by_changed, by_h = coupling.transformer.gradients(changed, h, by_changed, by_log)
        through, found = Perceptron(parameters).gradients(path, apart(by_h, len(parameters[0])))
        return None, coupling.join(by_kept + through.flatten(0, 1), by_changed), *found


class BatchedCoupling(Coupling):
    """S couplings of vectors, ``(S·B, D) → (S·B, D)``.

    Args:
        coupling: One of them, for how it splits and for its transformer.
        conditioner: The conditioners of all.
    """

    def __init__(self, coupling: Coupling, conditioner: BatchedPerceptron) -> None:
        transformer = coupling.transformer
        super().__init__(coupling.first, transformer, conditioner, swap=coupling.swap)
        self._parameters_in_turn = conditioner.in_turn

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = _Coupling.apply(self, x, *self._parameters_in_turn)  # type: ignore[no-untyped-call]
        return y, log_det


def has_gradients(transformer: Transformer) -> bool:
    """Whether its gradients are written by hand."""
    return type(transformer).gradients is not Transformer.gradients
