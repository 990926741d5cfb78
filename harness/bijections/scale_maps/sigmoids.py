"""Sigmoids of h between a floor and a ceiling: ``g = floor + span · σ(h + offset)``."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from harness.bijections.given import check_within
from harness.bijections.scale_maps.base import ScaleMap
from harness.registry import entry


def _steepest_log(floor: float, span: float, offset: float) -> float:
    """Where ``(log g)' = span p (1 - p) / (floor + span p)`` with ``p = σ(h + offset)`` is largest.

    The derivative by p is zero where ``span p² + 2 floor p = floor``; without a floor the slope
    is ``1 - p`` and falls everywhere.
    """
    if floor == 0:
        return -math.inf
    root = math.sqrt(floor**2 + span * floor)
    p = floor / (floor + root)
    return math.log(p) - math.log1p(-p) - offset


class Sigmoid(ScaleMap):
    """``g(h) = σ(h + 2) + floor`` in (floor, 1 + floor): Glow's (arXiv 1807.03039).

    Raises:
        ValueError: ``floor`` is negative or not finite.
    """

    steepest = -2.0

    def __init__(self, floor: float) -> None:
        if not 0 <= floor < math.inf:
            raise ValueError(f"Sigmoid: floor must be at least 0 and finite, not {floor}")
        self.floor = floor
        self.lower, self.upper = floor, 1 + floor
        self.steepest_log = _steepest_log(floor, 1, 2)

    def value(self, h: Tensor) -> Tensor:
        gate = torch.sigmoid(h + 2)
        return gate + self.floor if self.floor else gate

    def log(self, h: Tensor) -> Tensor:
        return F.logsigmoid(h + 2) if self.floor == 0 else self.value(h).log()

    def value_and_log(self, h: Tensor) -> tuple[Tensor, Tensor]:
        shifted = h + 2
        gate = torch.sigmoid(shifted)
        if self.floor == 0:
            return gate, F.logsigmoid(shifted)
        value = gate + self.floor
        return value, value.log()

    def reciprocal_and_log(self, h: Tensor) -> tuple[Tensor, Tensor]:
        value, log = self.value_and_log(h)
        return value.reciprocal(), -log

    def log_slope(self, h: Tensor) -> Tensor:
        if self.floor == 0:
            return torch.sigmoid(-2 - h)
        gate = torch.sigmoid(h + 2)
        return gate * (1 - gate) / (gate + self.floor)


class BoundedSigmoid(ScaleMap):
    """``g(h) = lower + (1 - lower) σ(h + 2)`` in (lower, 1).

    With lower = 1/2 it is the modified affine coupling of arXiv 2006.09347. At 0 and
    at 1 it would be another map: :class:`Sigmoid`, whose logarithm needs care, and a constant.

    Raises:
        ValueError: ``lower`` is not within (0, 1).
    """

    upper = 1.0
    steepest = -2.0

    def __init__(self, lower: float) -> None:
        check_within("BoundedSigmoid", 0, 1, lower=lower)
        self.lower = lower
        self.steepest_log = _steepest_log(lower, 1 - lower, 2)

    def value(self, h: Tensor) -> Tensor:
        return self.lower + (1 - self.lower) * torch.sigmoid(h + 2)

    def log(self, h: Tensor) -> Tensor:
        return self.value(h).log()

    def log_slope(self, h: Tensor) -> Tensor:
        above = (1 - self.lower) * torch.sigmoid(h + 2)
        return above * torch.sigmoid(-2 - h) / (self.lower + above)


class CentredSigmoid(ScaleMap):
    """``g(h) = 1 + (1 - lower) (2σ(h) - 1)`` in (lower, 2 - lower): 1 at h = 0.

    Raises:
        ValueError: ``lower`` is not within (0, 1).
    """

    steepest = 0.0

    def __init__(self, lower: float) -> None:
        check_within("CentredSigmoid", 0, 1, lower=lower)
        self.lower, self.upper, self.span = lower, 2 - lower, 2 * (1 - lower)
        self.steepest_log = _steepest_log(lower, self.span, 0)

    def value(self, h: Tensor) -> Tensor:
        return self.lower + self.span * torch.sigmoid(h)

    def log(self, h: Tensor) -> Tensor:
        return self.value(h).log()

    def log_slope(self, h: Tensor) -> Tensor:
        above = self.span * torch.sigmoid(h)
        return above * torch.sigmoid(-h) / (self.lower + above)


@entry(version=1)
def sigmoid(*, floor: Annotated[float, Field(ge=0, le=1)] = 0.0) -> ScaleMap:
    """σ(h + 2) + floor, in (floor, 1 + floor): Glow's; without a floor its inverse has no bound."""
    return Sigmoid(floor)


@entry(version=1)
def bounded_sigmoid(*, lower: Annotated[float, Field(gt=0, lt=1)] = 0.5) -> ScaleMap:
    """Lower + (1 - lower) σ(h + 2), in (lower, 1): the paper's modified affine at 1/2."""
    return BoundedSigmoid(lower)


@entry(version=1)
def centred_sigmoid(*, lower: Annotated[float, Field(gt=0, lt=1)] = 0.1) -> ScaleMap:
    """1 + (1 - lower) (2σ(h) - 1), in (lower, 2 - lower): "naffine" in arXiv 2006.09347's code."""
    return CentredSigmoid(lower)
