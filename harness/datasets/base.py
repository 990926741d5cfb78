"""What a dataset is."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.registry import Shape


@dataclass(frozen=True)
class Splits:
    """Raw splits: float32 vectors, or integer levels of images; shapes ``(N, *shape)``.

    Attributes:
        train: What is trained on.
        test: What is not.
        train_targets: One for each of ``train``, where a dataset has them: its class, int64
            ``(N,)``, or a vector, float32 ``(N, K)``.
        test_targets: Likewise.
    """

    train: Tensor
    test: Tensor
    train_targets: Tensor | None = None
    test_targets: Tensor | None = None

    def digest(self, *, targets: bool = False) -> str:
        """SHA-256 of the bytes of both splits, as hexadecimal.

        Args:
            targets: Whether of their targets, too: who learns without them has the same digest
                whether there are any or not.
        """
        parts = [self.train, self.test]
        if targets:
            parts += [one for one in (self.train_targets, self.test_targets) if one is not None]
        return hashlib.sha256(
            b"".join(part.contiguous().numpy().tobytes() for part in parts)
        ).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Named splits and how to turn raw entries into a network's input.

    Attributes:
        name: Its registered name.
        shape: Shape of one input, without the batch.
        low: Smallest nominal value of an input.
        high: Largest nominal value of an input.
        source: Where the data comes from.
        licence: Its licence.
        read: Loads the raw splits; building a dataset does not call it.
        levels: How many integer levels a raw entry takes; ``None`` for continuous data.
        classes: How many classes its targets name; ``None`` where they are none.
        target_dimensions: How many entries a target vector has; ``None`` where there are none.
    """

    name: str
    shape: Shape
    low: float
    high: float
    source: str
    licence: str
    read: Callable[[], Splits] = field(repr=False)
    levels: int | None = None
    classes: int | None = None
    target_dimensions: int | None = None

    def prepare(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Raw entries as float32 inputs; integer levels are dequantized afresh.

        ``x = low + (high - low) · (k + u) / levels``, u uniform on a grid of 2⁻¹⁶: k + u is exact
        in float32, so no draw crosses into the next level. With u in [0, 1) drawn in float32 a
        few per million would.
        """
        if self.levels is None:
            return raw
        return self.dequantize(raw, self.noise(raw.shape, generator).to(raw.device))

    def noise(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """``2¹⁶ u``: what :meth:`dequantize` adds to integer levels, int32 on the CPU."""
        return torch.randint(0, 2**16, tuple(shape), generator=generator, dtype=torch.int32)

    def dequantize(self, raw: Tensor, noise: Tensor) -> Tensor:
        """Integer levels with noise of their shape, as float32 inputs: see :meth:`prepare`."""
        if self.levels is None:
            raise ValueError(f"{self.name} has no integer levels to dequantize")
        unit = (raw.to(torch.float32) + noise.to(torch.float32) / 2**16) / self.levels
        return self.low + (self.high - self.low) * unit

    def is_image(self) -> bool:
        """Whether an input is an image ``(C, H, W)``."""
        return len(self.shape) == 3
