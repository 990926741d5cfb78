"""The levels of a multi-scale flow as maps of all dimensions: what is finished passes beside."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz, Convergence, Rebuilt, rebuilt
from harness.bijections.box import Box


class FactorOut(Bijection):
    """``(B, C, H, W) → (B, D)``: the second half of the channels first, then the first half.

    What :class:`~harness.bijections.shape.multiscale.MultiScale` does between two levels, where
    the second half is finished and the first goes on.

    Args:
        shape: ``(C, H, W)``, C even.
    """

    is_affine = True

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        goes_on, finished = x.chunk(2, dim=1)
        return torch.cat([finished.flatten(1), goes_on.flatten(1)], dim=1), x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        channels, *size = self.shape
        finished, goes_on = (half.reshape(-1, channels // 2, *size) for half in y.chunk(2, dim=1))
        return torch.cat([goes_on, finished], dim=1), y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, 1.0)


class Beside(Bijection):
    """``(z, x) ↦ (z, F(x))`` of vectors ``(B, D)``: the first numbers are finished, and pass.

    Args:
        bijection: F.
        finished: How many numbers z has.
        before: The shape of x, without the batch.
        after: The shape of ``F(x)``, likewise.
    """

    def __init__(
        self, bijection: Bijection, finished: int, before: Sequence[int], after: Sequence[int]
    ) -> None:
        super().__init__()
        self.bijection, self.finished = bijection, finished
        self.before, self.after = tuple(before), tuple(after)

    def given(self, x: Tensor) -> Tensor:
        """What F is given."""
        return self._apart(x, self.before)[1]

    def _apart(self, x: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        return x[:, : self.finished], x[:, self.finished :].reshape(-1, *shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        finished, x = self._apart(x, self.before)
        y, log_det = self.bijection(x, context)
        return torch.cat([finished, y.flatten(1)], dim=1), log_det

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        finished, y = self._apart(y, self.after)
        x, log_det, report = self.bijection.inverse_with_convergence(y, context)
        return torch.cat([finished, x.flatten(1)], dim=1), log_det, report

    def rebuild(self, y: Tensor, context: Tensor | None = None) -> Rebuilt:
        finished, after = self._apart(y, self.after)
        inside = rebuilt(self.bijection, after, context)

        def gradients(
            by_y: Tensor | None, by_log_det: Tensor | None, wanted: Sequence[Tensor]
        ) -> tuple[Tensor | None, Sequence[Tensor | None]]:
            given = torch.zeros_like(y) if by_y is None else by_y
            by_finished, by_after = self._apart(given, self.after)
            by_before, rest = inside.gradients(by_after, by_log_det, wanted)
            by_before = torch.zeros_like(inside.x) if by_before is None else by_before
            return torch.cat([by_finished, by_before.flatten(1)], dim=1), rest

        return Rebuilt(torch.cat([finished, inside.x.flatten(1)], dim=1), gradients)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``max(1, Lip)`` both ways: a block diagonal map."""
        found = self.bijection.bounds()
        return BiLipschitz(max(1.0, found.forward), max(1.0, found.inverse))

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        """F's, without the ones of what passes."""
        return self.bijection.scales(self.given(x), context)
