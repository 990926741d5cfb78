"""Couplings of S networks."""

from collections.abc import Sequence

from torch import Tensor

from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.splits import Alternating, Halves
from harness.bijections.transformers.differentiation import has_gradients
from harness.training.batched_layers import Layer
from harness.training.perceptron import BatchedPerceptron


class BatchedCoupling(Layer, Coupling):
    """S couplings of vectors, ``(S·B, D) → (S·B, D)``.

    Args:
        coupling: One of them, for how it splits and for its transformer.
        conditioner: The conditioners of all.
    """

    def __init__(self, coupling: Coupling, conditioner: BatchedPerceptron) -> None:
        transformer = coupling.transformer
        super().__init__(coupling.parts, transformer, conditioner, swap=coupling.swap)
        self._perceptron = conditioner.perceptron
        self.size, self.in_turn = self._perceptron.size, self._perceptron.parameters

    def advance(self, x: Tensor, log_det: Tensor) -> tuple[Tensor, list[Tensor]]:
        kept, changed = self.split(x)
        path = self._perceptron.forward(kept)
        y, log_derivative = self.transformer(changed, path[-1])
        log_det += log_derivative.sum(1)
        return self.join(kept, y), [changed, *path]

    def gradients(
        self, path: Sequence[Tensor], by_y: Tensor, by_log_det: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        changed, *path = path
        by_kept, by_changed = self.split(by_y)
        by_log = by_log_det.unsqueeze(1)  # the same for every element
        by_changed, by_h = self.transformer.gradients(changed, path[-1], by_changed, by_log)
        through, found = self._perceptron.gradients(path, by_h)
        return self.join(through.add_(by_kept), by_changed), found


def runs_together(coupling: Coupling) -> bool:
    """Whether it does nothing but what :class:`BatchedCoupling` does."""
    # Not isinstance: a subclass may show its conditioner something else.
    usual = type(coupling.parts) in (Halves, Alternating) and not coupling.context
    return usual and has_gradients(coupling.transformer)
