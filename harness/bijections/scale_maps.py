"""Scale maps g(h) > 0 of affine couplings, and the range that decides what can explode.

An affine coupling multiplies by ``g(h)`` and its inverse divides by it: where ``inf g = 0``, no
architecture bounds the inverse. A map is a row of this table, not a branch in the coupling.
"""

import math
from typing import Annotated, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from harness.registry import entry


class ScaleMap(Protocol):
    """An elementwise positive function of the conditioner's output.

    Attributes:
        lower: ``inf g``.
        upper: ``sup g``.
    """

    lower: float
    upper: float

    def value(self, h: Tensor) -> Tensor:
        """``g(h)``."""

    def log(self, h: Tensor) -> Tensor:
        """``log g(h)``, computed without forming g."""

    def log_slope(self, h: Tensor) -> Tensor:
        """``d log g(h) / dh``."""

    def reciprocal(self, h: Tensor) -> Tensor:
        """``1 / g(h)``."""


class Exponential:
    """``g(h) = exp(h)`` in (0, ∞): RealNVP without clipping (arXiv 1605.08803)."""

    lower, upper = 0.0, math.inf

    def value(self, h: Tensor) -> Tensor:
        return h.exp()

    def log(self, h: Tensor) -> Tensor:
        return h

    def log_slope(self, h: Tensor) -> Tensor:
        return torch.ones_like(h)

    def reciprocal(self, h: Tensor) -> Tensor:
        return (-h).exp()


class Sigmoid:
    """``g(h) = σ(h + 2) + floor`` in (floor, 1 + floor): Glow's (arXiv 1807.03039)."""

    def __init__(self, floor: float) -> None:
        self.floor = floor
        self.lower, self.upper = floor, 1 + floor

    def value(self, h: Tensor) -> Tensor:
        gate = torch.sigmoid(h + 2)
        return gate + self.floor if self.floor else gate

    def log(self, h: Tensor) -> Tensor:
        return F.logsigmoid(h + 2) if self.floor == 0 else self.value(h).log()

    def log_slope(self, h: Tensor) -> Tensor:
        if self.floor == 0:
            return torch.sigmoid(-2 - h)
        gate = torch.sigmoid(h + 2)
        return gate * (1 - gate) / (gate + self.floor)

    def reciprocal(self, h: Tensor) -> Tensor:
        return self.value(h).reciprocal()


class BoundedSigmoid:
    """``g(h) = lower + (1 - lower) σ(h + 2)`` in (lower, 1).

    With lower = 1/2 it is the modified affine coupling of arXiv 2006.09347.
    """

    upper = 1.0

    def __init__(self, lower: float) -> None:
        self.lower = lower

    def value(self, h: Tensor) -> Tensor:
        return self.lower + (1 - self.lower) * torch.sigmoid(h + 2)

    def log(self, h: Tensor) -> Tensor:
        return self.value(h).log()

    def log_slope(self, h: Tensor) -> Tensor:
        above = (1 - self.lower) * torch.sigmoid(h + 2)
        return above * torch.sigmoid(-2 - h) / (self.lower + above)

    def reciprocal(self, h: Tensor) -> Tensor:
        return self.value(h).reciprocal()


class BoundedExponential:
    """``g(h) = exp(log(limit) tanh h)`` in (1/limit, limit)."""

    def __init__(self, limit: float) -> None:
        self.log_limit = math.log(limit)
        self.lower, self.upper = 1 / limit, limit

    def value(self, h: Tensor) -> Tensor:
        return self.log(h).exp()

    def log(self, h: Tensor) -> Tensor:
        return self.log_limit * torch.tanh(h)

    def log_slope(self, h: Tensor) -> Tensor:
        return self.log_limit * (1 - torch.tanh(h) ** 2)

    def reciprocal(self, h: Tensor) -> Tensor:
        return (-self.log(h)).exp()


@entry(version=1)
def exp() -> ScaleMap:
    """The exponential of h, in (0, ∞): no bound on either side."""
    return Exponential()


@entry(version=1)
def sigmoid(*, floor: Annotated[float, Field(ge=0, le=1)] = 0.0) -> ScaleMap:
    """σ(h + 2) + floor, in (floor, 1 + floor): Glow's; without a floor its inverse has no bound."""
    return Sigmoid(floor)


@entry(version=1)
def bounded_sigmoid(*, lower: Annotated[float, Field(gt=0, lt=1)] = 0.5) -> ScaleMap:
    """Lower + (1 - lower) σ(h + 2), in (lower, 1): the paper's modified affine at 1/2."""
    return BoundedSigmoid(lower)


@entry(version=1)
def bounded_exp(*, limit: Annotated[float, Field(gt=1, le=1e6)] = 2.0) -> ScaleMap:
    """exp(log(limit) tanh h), in (1/limit, limit)."""
    return BoundedExponential(limit)
