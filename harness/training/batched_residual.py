"""Residual blocks of S networks."""

import torch
from torch import Tensor

from harness.bijections.base import Convergence
from harness.training.vectorized import VectorizedBijection, vectorize


class BatchedResidual(VectorizedBijection):
    """S residual blocks, ``(S·B, …) → (S·B, …)``.

    Forward they are vectorised as they are. The inverse iterates, and leaves a sample that has
    ended as it is: no sample's result depends on another network.
    """

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inverse_with_convergence(y, context)[:2]

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        """Without a gradient.

        Raises:
            NotImplementedError: A gradient is wanted: each network by itself has it.
        """
        if torch.is_grad_enabled():
            raise NotImplementedError("the inverse of several residual blocks has no gradient")
        block = self._unregistered[0]
        weights = vectorize(block, self._state, lambda block: block.network.weights())

        def g(x: Tensor) -> Tensor:
            moved: Tensor = self._run(
                lambda block, x, *weights: block.network(x, list(weights)), x, *weights
            )
            return moved

        x, report = block.solve(g, y, parts=self._size)  # type: ignore[operator]
        return x, -self(x)[1], report
