"""Bijections whose gradient takes the memory of one layer."""

import torch
from torch import Tensor

from harness.backpropagation.function import Rebuilding
from harness.backpropagation.guard import Counts, Fingerprints, Guard
from harness.backpropagation.refusal import CannotRebuildError, check
from harness.backpropagation.walk import Walk
from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box

EVERY = 8


class MemorySaving(Bijection):
    """``F`` as it is, with another way to its gradient: see :func:`memory_saving`.

    Shares all weights with F, which goes on as it was.

    Args:
        flow: F. Gets no other parts afterwards.
        every: A checkpoint every so many layers; ``None`` keeps none and trusts every inverse.
        tolerance: How far a fingerprint may be off.

    Attributes:
        flow: F.
        counts: Of guarded gradients so far.
    """

    def __init__(
        self, flow: Bijection, every: int | None = None, tolerance: float | None = None
    ) -> None:
        super().__init__()
        check(flow)
        self.flow = flow
        self.counts = Counts()
        self._walk = Walk(flow)
        self._every, self._tolerance, self._fingerprints = every, tolerance, Fingerprints()
        self._hooks = {name: module._forward_hooks for name, module in flow.named_modules()}

    @property
    def recomputed(self) -> int:
        """How many segments were recomputed so far, for their inverse could not be trusted."""
        return self.counts.recomputed

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        weights = self._walk.weights.now()
        given = (x, *weights) if context is None else (x, context, *weights)
        if not torch.is_grad_enabled() or not any(one.requires_grad for one in given):
            return self.flow(x, context)  # type: ignore[no-any-return]
        self._check_hooks()
        versions, drawn = [one._version for one in weights], torch.get_rng_state()
        guard = None
        if self._every is not None:
            guard = Guard(self._every, self._tolerance, self._fingerprints, self.counts)
        y, log_det = Rebuilding.apply(self._walk, guard, x, context, *weights)  # type: ignore[no-untyped-call]
        if [one._version for one in weights] != versions:
            raise CannotRebuildError(
                "the network's activations cannot be rebuilt: a call changed one of its buffers"
            )
        if not torch.equal(drawn, torch.get_rng_state()):
            raise CannotRebuildError(
                "the network's activations cannot be rebuilt: a call drew random numbers, and "
                "would draw others when a layer is run again"
            )
        return y, log_det

    def _check_hooks(self) -> None:
        hooked = next((name for name, hooks in self._hooks.items() if hooks), None)
        if hooked is not None:
            raise CannotRebuildError(
                f"a forward hook of the network's part {hooked!r} is given activations without a "
                "graph by memory-saving backpropagation; use plain autograd with it"
            )

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """F's, with ordinary autograd and its memory."""
        return self.flow.inverse(y, context)

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        return self.flow.inverse_with_convergence(y, context)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return self.flow.bounds(box)

    def image(self, box: Box) -> Box | None:
        return self.flow.image(box)

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        return self.flow.scales(x, context)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.flow.initialize(x, context)


def memory_saving(flow: Bijection) -> MemorySaving:
    """The same network, which keeps its output alone and rebuilds all activations from it."""
    return MemorySaving(flow)


def guarded(flow: Bijection, *, tolerance: float | None = None, every: int = EVERY) -> MemorySaving:
    """The same."""
    return MemorySaving(flow, every, tolerance)
