"""The balls in which an attack looks for the worst input."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

NormName = Literal["linf", "l2"]


@dataclass(frozen=True)
class Ball:
    """What an attack may give in place of x: ``x + δ`` with ``‖δ‖ ≤ ε``, and within a range.

    With ``linf`` no entry of δ is larger than ε. With ``l2`` their root mean square is not,
    ``‖δ‖₂ ≤ ε √D``: the ball around that cube, so that one ε is as much at every dimension.

    Attributes:
        norm: ``linf`` or ``l2``.
        centre: x, ``(B, *shape)``, float64.
        epsilon: ε, above 0.
        lowest: Of every entry; an entry of x below it is its own limit.
        highest: Likewise.
    """

    norm: NormName
    centre: Tensor
    epsilon: float
    lowest: float
    highest: float

    def nearest(self, x: Tensor) -> Tensor:
        """The point of the ball nearest to x, then brought into the range.

        As the range holds the centre, that step shortens every entry of δ, and none leaves.
        """
        delta = x - self.centre
        if self.norm == "linf":
            delta = delta.clamp(-self.epsilon, self.epsilon)
        else:
            delta = delta * (self._radius / _lengths(delta)).clamp(max=1)
        low, high = self.centre.clamp(max=self.lowest), self.centre.clamp(min=self.highest)
        return (self.centre + delta).clamp(low, high)

    def anywhere(self, generator: torch.Generator) -> Tensor:
        """A point uniform in the ball, brought into the range."""
        shape, dimension = self.centre.shape, self.centre[0].numel()
        if self.norm == "linf":
            delta = self.epsilon * (2 * self._uniform(shape, generator) - 1)
        else:
            length = self._uniform((len(self.centre),), generator) ** (1 / dimension)
            delta = self._radius * _alike(length, self.centre) * self._sphere(generator)
        return self.nearest(self.centre + delta)

    def step(self, gradient: Tensor, size: float, generator: torch.Generator) -> Tensor:
        """The steepest way up of length ``size · ε`` in this norm, ``(B, *shape)``.

        ``size ε sign(g)``, or ``size ε √D g / ‖g‖₂``. Entries that are not finite are taken for 0,
        and where nothing is left the direction is random.
        """
        gradient = gradient.double().nan_to_num(0.0, 0.0, 0.0)
        largest = gradient.flatten(1).abs().amax(1)
        lost = _alike(largest == 0, gradient)
        gradient = torch.where(lost, self._sphere(generator), gradient)
        if self.norm == "linf":
            return size * self.epsilon * gradient.sign()
        gradient = gradient / _alike(largest.where(largest > 0, 1.0), gradient)
        return size * self._radius * gradient / _lengths(gradient)

    @property
    def _radius(self) -> float:
        return self.epsilon * math.sqrt(self.centre[0].numel())

    def _uniform(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
        return drawn.to(self.centre.device)

    def _sphere(self, generator: torch.Generator) -> Tensor:
        """Directions of length 1, uniform."""
        drawn = torch.randn(self.centre.shape, generator=generator, dtype=torch.float64)
        return (drawn / _lengths(drawn)).to(self.centre.device)


def _lengths(delta: Tensor) -> Tensor:
    """``‖δ‖₂`` of each sample, above 0, in a shape that divides them."""
    lengths = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return _alike(lengths.clamp_min(torch.finfo(delta.dtype).tiny), delta)


def _alike(per_sample: Tensor, x: Tensor) -> Tensor:
    return per_sample.reshape(-1, *[1] * (x.ndim - 1))
