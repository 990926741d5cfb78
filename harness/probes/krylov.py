"""Extreme singular values of a network's Jacobian where it is too large to be written out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from harness.bijections.base import Bijection
from harness.probes.lanczos import Jacobian, Largest, largest_singular_value


class Extremes(NamedTuple):
    """Of the Jacobians at B inputs, each ``(B,)``; NaN where a product is not finite.

    Attributes:
        largest: ``σ_max(J)``.
        smallest: ``σ_min(J)``.
        largest_error: Relative: some singular value lies that near to ``largest``.
        smallest_error: Likewise of ``1 / smallest`` and the inverse map.
        disagreement: ``‖J K v - v‖`` with K the Jacobian of the inverse map, ``‖v‖ = 1``: the
            larger of those in the two extreme directions; rounding, if the inverse is one.
        finite: Where all of them are finite.
    """

    largest: Tensor
    smallest: Tensor
    largest_error: Tensor
    smallest_error: Tensor
    disagreement: Tensor
    finite: Tensor


class Triples(NamedTuple):
    """The extremes, and singular vectors of J that belong to them, ``(B, D)`` each.

    Attributes:
        extremes: The values, and how well they are known.
        largest_left: u of ``σ_max``, of length 1, and likewise the others.
        largest_right: v of it.
        smallest_left: u of ``σ_min``.
        smallest_right: v of it.
    """

    extremes: Extremes
    largest_left: Tensor
    largest_right: Tensor
    smallest_left: Tensor
    smallest_right: Tensor


@dataclass(frozen=True)
class Krylov:
    """``σ_max(J_F(x))``, and ``σ_min`` as ``1 / σ_max`` of the inverse map's Jacobian at ``F(x)``.

    By Golub-Kahan-Lanczos on each of the two maps. The smallest eigenvalue of JᵀJ would square
    the condition number, and Krylov spaces find what is smallest last.

    Attributes:
        tolerance: Relative, of both.
        steps: The most steps of each: two products a step.
    """

    tolerance: float
    steps: int

    def __call__(self, network: Bijection, x: Tensor, start: Tensor) -> Extremes:
        """Of a network in float64.

        Args:
            network: The network; its inverse must be differentiable.
            x: Inputs ``(B, *shape)``.
            start: Directions to begin with, ``(B, D)``.
        """
        return self.triples(network, x, start).extremes

    def triples(self, network: Bijection, x: Tensor, start: Tensor) -> Triples:
        """The same with vectors: K u of the inverse's triple (u, v) is ``v / σ_min``."""
        with _frozen(network):
            forward = Jacobian(lambda x: network(x)[0], x)
            inverse = Jacobian(lambda z: network.inverse(z)[0], forward.value)
            there = largest_singular_value(forward, start, self.tolerance, self.steps)
            back = largest_singular_value(inverse, start, self.tolerance, self.steps)
            image, preimage = forward.times(there.vector), inverse.times(back.vector)
            gaps = [
                _gap(forward.times(preimage), back),
                _gap(inverse.times(image), there),
            ]
        numbers = torch.stack(
            [
                there.value,
                1 / back.value,
                there.error / there.value,
                back.error / back.value,
                torch.maximum(*gaps),
            ]
        )
        finite = numbers.isfinite().all(0)
        largest, smallest, first, second, gap = torch.where(finite, numbers, torch.nan)
        return Triples(
            Extremes(largest, smallest, first, second, gap, finite),
            normalize(image),
            there.vector,
            back.vector,
            normalize(preimage),
        )


def _gap(again: Tensor, of: Largest) -> Tensor:
    gap: Tensor = torch.linalg.vector_norm(again - of.vector, dim=1)
    return gap


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Within it no weight asks for a gradient: backward passes would carry what they need."""
    trained = [one for one in network.parameters() if one.requires_grad]
    for one in trained:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in trained:
            one.requires_grad_(True)
