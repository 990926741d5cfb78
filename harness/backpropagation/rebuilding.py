"""Bijections whose gradient takes the memory of one layer."""

import sys

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
        counts: Of guarded gradients so far; ``None`` where nothing is guarded.
    """

    def __init__(
        self, flow: Bijection, every: int | None = None, tolerance: float | None = None
    ) -> None:
        super().__init__()
        check(flow)
        self.flow = flow
        self.counts = None if every is None else Counts()
        self._walk = Walk(flow)
        self._every, self._tolerance, self._fingerprints = every, tolerance, Fingerprints()
        self._hooks = {name: module._forward_hooks for name, module in flow.named_modules()}

    @property
    def recomputed(self) -> int:
        """How many segments were recomputed so far, for their inverse could not be trusted."""
        return self.counts.recomputed if self.counts else 0

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        weights = self._walk.weights.now()
        given = (x, *weights) if context is None else (x, context, *weights)
        if not torch.is_grad_enabled() or not any(one.requires_grad for one in given):
            return self.flow(x, context)  # type: ignore[no-any-return]
        if "torch._dynamo" in sys.modules:  # torch.compile would trace into the way back
            untraced = torch.compiler.disable(self._rebuilding)  # type: ignore[no-untyped-call]
            return untraced(x, context, weights)  # type: ignore[no-any-return]
        return self._rebuilding(x, context, weights)

    def _rebuilding(
        self, x: Tensor, context: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        self._check_hooks()
        versions, drawn = _versions(weights), _generators(x.device)
        guard = None
        if self._every is not None and self.counts is not None:
            guard = Guard(self._every, self._tolerance, self._fingerprints, self.counts)
        y, log_det = Rebuilding.apply(self._walk, guard, x, context, *weights)  # type: ignore[no-untyped-call]
        if _versions(self._walk.weights.now()) != versions:
            raise CannotRebuildError(
                "the network's activations cannot be rebuilt: a call changed one of its buffers"
            )
        if not all(map(torch.equal, drawn, _generators(x.device))):
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


def _versions(weights: list[Tensor]) -> list[tuple[int, int]]:
    """Other ones where one was changed, or another was put in its place."""
    return [(id(one), one._version) for one in weights]


def _generators(device: torch.device) -> list[Tensor]:
    """The states of PyTorch's own generators that a call on the device may draw from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def memory_saving(flow: Bijection) -> MemorySaving:
    """``F``, whose gradient keeps nothing but the output: all activations are rebuilt from it.

    On the way back each layer is inverted, ``x_i = F_i⁻¹(x_{i+1})``, run again with a graph, and
    differentiated by its input, its context and its weights; then its graph is gone. So activations
    take the memory of one layer, whatever the depth (arXiv 1707.04585). Layers are those of
    :func:`harness.bijections.path.layers`: chains and levels taken apart. A step of a wide flow
    takes a third to a half more time; a coupling's conditioner is evaluated once more and not
    twice, for one evaluation serves its inverse and itself.

    The gradient is as good as the inverse is, and where that explodes, it is wrong or NaN without a
    word (arXiv 2006.09347): measure it (probe ``gradient_fidelity``), or use :func:`guarded`.

    The result shares all weights with ``flow``, and is a bijection like any other: called several
    times in a loss, under autocast (whose state the way back has again), with frozen or shared
    parameters, contexts, accumulated gradients. Its inverse and what is called without gradients
    are those of ``flow``. First derivatives only; no ``vmap`` or ``torch.func`` around it; hooks of
    chains that are taken apart are not called.

    Raises:
        CannotRebuildError: A module draws random numbers or normalises by its batch, or a layer has
            no inverse or a learned one; in a call, it changed a buffer or drew from PyTorch's own
            generator, or has forward hooks.
        RuntimeError: Where its gradient is to be differentiated.
    """
    return MemorySaving(flow)


def guarded(flow: Bijection, *, tolerance: float | None = None, every: int = EVERY) -> MemorySaving:
    """As :func:`memory_saving`, with a right gradient also where the inverse cannot be trusted.

    Of each layer's input four sums of its entries with random signs are kept, of each sample, and
    the input itself of every ``every``-th layer. On the way back a rebuilt input whose sums are off
    by more than ``tolerance`` times the largest of them, or not finite, in any sample, is not
    used: the inputs of its segment are computed again from the one that was kept. An error thus
    never passes a checkpoint, and one within a segment is at most about the tolerance.

    Memory: that of one layer, of ``n / every`` inputs for n layers, and four numbers a sample and
    layer; where a segment is recomputed, of ``every`` inputs for a while. Time: as
    :func:`memory_saving`; a recomputed segment costs a forward pass of its layers, and is spared
    their inverses.

    Args:
        flow: As there.
        tolerance: Relative; ``None`` is ε^(2/3) of the input's dtype, 2.4e-5 in float32.
        every: A checkpoint every so many layers, at least 1; with 1 nothing is inverted.

    Raises:
        ValueError: ``every`` is below 1, or ``tolerance`` negative.
        CannotRebuildError: As there.
    """
    if every < 1:
        raise ValueError(f"guarded: every must be at least 1, not {every}")
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(f"guarded: tolerance must be at least 0, not {tolerance}")
    return MemorySaving(flow, every, tolerance)


def recomputed_fraction(flow: Bijection, x: Tensor, context: Tensor | None = None) -> float:
    """In how many of a batch's segments :func:`guarded` would not trust the inverse; 0 of none.

    Raises:
        CannotRebuildError: As there.
    """
    watched = guarded(flow)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        torch.autograd.grad(watched(x, context)[0].sum(), x)
    counts = watched.counts
    return counts.recomputed / counts.segments if counts and counts.segments else 0.0
