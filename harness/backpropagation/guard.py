"""What a guarded walk keeps of a network's layers, to tell a rebuilt input from a wrong one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.bijections.base import Bijection

PROJECTIONS = 4


class Fingerprints:
    """``(B, D) → (B, 4)``: sums of all entries with random signs, in float32 at least.

    An error of one entry shows in all four, whichever entry it is; one of many entries is missed
    only where ``|Σ ± eᵢ|`` is small four times over. Up to 4 dimensions it is the input itself.
    The signs are seeded: the same ones in every call and for every layer of a size.
    """

    def __init__(self) -> None:
        self._signs: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def of(self, x: Tensor) -> Tensor:
        """Of each sample of ``(B, *shape)``."""
        wide = x.flatten(1)
        wide = wide if wide.dtype == torch.float64 else wide.float()
        if wide.shape[1] <= PROJECTIONS:
            return wide
        key = wide.shape[1], wide.dtype, wide.device
        if key not in self._signs:
            source = torch.Generator().manual_seed(0)
            drawn = torch.randint(2, (key[0], PROJECTIONS), generator=source)
            self._signs[key] = (2 * drawn - 1).to(wide)
        with torch.autocast(x.device.type, enabled=False):
            return wide @ self._signs[key]


@dataclass
class Counts:
    """Of all gradients so far.

    Attributes:
        segments: How many segments the inverse ran through.
        recomputed: In how many of these it could not be trusted.
    """

    segments: int = 0
    recomputed: int = 0


class Guard:
    """What is kept of one call: checkpoints, and a fingerprint of every other layer's input.

    Args:
        every: A checkpoint every so many layers: together they are a segment.
        tolerance: How far a fingerprint may be off, relative to the largest of its entries;
            ``None`` is ε^(2/3) of the dtype.
        fingerprints: Takes them.
        counts: What is counted.

    Attributes:
        kept: Of each layer, in order; whoever has it saved elsewhere may empty it until
            :meth:`begin`.
    """

    def __init__(
        self, every: int, tolerance: float | None, fingerprints: Fingerprints, counts: Counts
    ) -> None:
        self._every, self._tolerance = every, tolerance
        self._fingerprints, self._counts = fingerprints, counts
        self.kept: list[Tensor] = []
        self._recomputed: dict[int, Tensor] = {}
        self._segment = -1

    def note(self, number: int, x: Tensor) -> None:
        """Keep what there is to keep of a layer's input."""
        is_checkpoint = number % self._every == 0
        self.kept.append(x if is_checkpoint else self._fingerprints.of(x))

    def begin(self, kept: Sequence[Tensor]) -> None:
        """The way back, given what was kept on the way there."""
        self.kept = list(kept)
        self._segment = -1

    def end(self) -> None:
        """The way back is done: nothing is held any more."""
        self.kept, self._recomputed = [], {}

    def known(self, number: int) -> Tensor | None:
        """A layer's input, where it is kept or has been recomputed."""
        if number % self._every == 0:
            return self.kept[number]
        return self._recomputed.pop(number, None)

    def agrees(self, number: int, x: Tensor) -> bool:
        """Whether a rebuilt input has the fingerprint of the one that there was, in every sample.

        What is not finite agrees with nothing, itself included.
        """
        segment = number // self._every
        self._counts.segments += segment != self._segment
        self._segment = segment
        before = self.kept[number]
        off = (self._fingerprints.of(x) - before).abs().amax(1)
        tolerance = self._tolerance
        if tolerance is None:
            tolerance = torch.finfo(x.dtype).eps ** (2 / 3)
        allowed = tolerance * before.abs().amax(1)
        return bool(((off <= allowed) & off.isfinite()).all())

    def recompute(self, number: int, path: Sequence[Bijection], context: Tensor | None) -> Tensor:
        """A layer's input from its segment's checkpoint; those on the way are known from now on."""
        first = number - number % self._every
        x = self.kept[first]
        with torch.no_grad():
            for between in range(first, number):
                x, _ = path[between](x, context)
                self._recomputed[between + 1] = x
        self._counts.recomputed += 1
        return self._recomputed.pop(number)
