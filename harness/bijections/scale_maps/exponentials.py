"""Exponentials of h, or of a soft clamp of it: ``g = exp(c(h))``."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.given import check_within
from harness.bijections.scale_maps.base import ScaleMap
from harness.registry import entry

Limit = Annotated[float, Field(gt=1, le=1e6)]
FREIA_LIMIT = 7.38905609893065
"""``e²``: its clamp of the log-scale is 2."""


class _OfItsLog(ScaleMap):
    """``g = exp(log g)``, computed so."""

    def value(self, h: Tensor) -> Tensor:
        return self.log(h).exp()

    def reciprocal(self, h: Tensor) -> Tensor:
        return (-self.log(h)).exp()

    def value_and_log(self, h: Tensor) -> tuple[Tensor, Tensor]:
        log = self.log(h)
        return log.exp(), log

    def reciprocal_and_log(self, h: Tensor) -> tuple[Tensor, Tensor]:
        log = -self.log(h)
        return log.exp(), log


class Exponential(_OfItsLog):
    """``g(h) = exp(h)`` in (0, ∞): RealNVP without clipping (arXiv 1605.08803)."""

    lower, upper = 0.0, math.inf
    steepest = steepest_log = math.inf

    def log(self, h: Tensor) -> Tensor:
        return h

    def log_slope(self, h: Tensor) -> Tensor:
        return torch.ones_like(h)

    def slope(self, h: Tensor) -> Tensor:
        return h.exp()


class _Clamped(_OfItsLog):
    """``g = exp(c(h))`` with an odd clamp c in (-log limit, log limit), steepest at 0.

    Raises:
        ValueError: ``limit`` is not above 1 and finite.
    """

    steepest_log = 0.0

    def __init__(self, limit: float) -> None:
        check_within(type(self).__name__, 1, math.inf, limit=limit)
        self.log_limit = math.log(limit)
        self.lower, self.upper = 1 / limit, limit


class BoundedExponential(_Clamped):
    """``g(h) = exp(log(limit) tanh h)`` in (1/limit, limit).

    With ``L = log limit`` and ``u = tanh h``, ``g' = L e^(L u) (1 - u²)`` is largest where
    ``L (1 - u²) = 2u``.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        # The root in (0, 1), written so that nothing cancels where L is small.
        self.steepest = math.atanh(self.log_limit / (1 + math.hypot(1, self.log_limit)))

    def log(self, h: Tensor) -> Tensor:
        return self.log_limit * torch.tanh(h)

    def log_slope(self, h: Tensor) -> Tensor:
        return self.log_limit * (1 - torch.tanh(h) ** 2)


class ArctanClamp(_Clamped):
    """``g(h) = exp(log(limit) (2/π) arctan h)`` in (1/limit, limit).

    With ``a = (2/π) log limit``, ``log g' = log a + a arctan h - log(1 + h²)`` is largest at
    ``h = a / 2``.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        self.factor = self.log_limit * 2 / math.pi
        self.steepest = self.factor / 2

    def log(self, h: Tensor) -> Tensor:
        return self.factor * torch.atan(h)

    def log_slope(self, h: Tensor) -> Tensor:
        return self.factor / (1 + h**2)


class SoftClip(_Clamped):
    """``g(h) = exp(h / (1 + |h| / log limit))`` in (1/limit, limit).

    With ``L = log limit`` and ``w = 1 / (1 + h/L)`` for h ≥ 0, ``log g' = L (1 - w) + 2 log w`` is
    largest at ``w = min(1, 2/L)``; for h ≤ 0, g' rises.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        self.steepest = max(0.0, self.log_limit * (self.log_limit / 2 - 1))

    def log(self, h: Tensor) -> Tensor:
        return h / (1 + h.abs() / self.log_limit)

    def log_slope(self, h: Tensor) -> Tensor:
        return (1 + h.abs() / self.log_limit) ** -2


@entry(version=1)
def exp() -> ScaleMap:
    """The exponential of h, in (0, ∞): no bound on either side."""
    return Exponential()


@entry(version=1)
def bounded_exp(*, limit: Limit = 2.0) -> ScaleMap:
    """exp(log(limit) tanh h), in (1/limit, limit).

    At limit 5 the "gaffine" coupling of the code of arXiv 2006.09347; at e² FrEIA's tanh clamp.
    """
    return BoundedExponential(limit)


@entry(version=1)
def arctan_clamp(*, limit: Limit = FREIA_LIMIT) -> ScaleMap:
    """exp(log(limit) (2/π) arctan h), in (1/limit, limit): FrEIA's, whose clamp is log(limit)."""
    return ArctanClamp(limit)


@entry(version=1)
def soft_clip(*, limit: Limit = 1000.0) -> ScaleMap:
    """exp(h / (1 + |h| / log limit)), in (1/limit, limit): zuko's, whose slope is 1/limit."""
    return SoftClip(limit)
