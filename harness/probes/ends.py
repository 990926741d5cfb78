"""Both ends of a Jacobian's spectrum, and how they change with the input."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.gradients.singular_value import slope
from harness.probes.jacobian import LARGEST, jacobian
from harness.probes.krylov import Krylov

WRITTEN_OUT_UP_TO = 256
"""Dimensions up to which it pays to write out the Jacobians of many inputs."""


class Ends(NamedTuple):
    """Of the Jacobians at B inputs.

    Attributes:
        forward: ``log σ_max``, ``(B,)``; ``-inf`` where the Jacobian is not finite.
        inverse: ``log 1/σ_min``, likewise; no more than what float64 resolves beside ``σ_max``.
        inverse_surely: What ``inverse`` is at least, whatever rounding did to it; ``-inf`` where
            products left that open. ``forward`` surely is what it is, or more.
        forward_known: Whether ``forward`` is known within the tolerance, ``(B,)``.
        inverse_known: Likewise.
        finite: Whether the Jacobian is finite, ``(B,)``.
        forward_slope: Gradient of ``forward``, ``(B, *shape)``; 0 where it was not asked for.
        inverse_slope: Likewise.
    """

    forward: Tensor
    inverse: Tensor
    inverse_surely: Tensor
    forward_known: Tensor
    inverse_known: Tensor
    finite: Tensor
    forward_slope: Tensor
    inverse_slope: Tensor


class _Found(NamedTuple):
    """Singular values, which of them are known, and their singular vectors."""

    largest: Tensor
    smallest: Tensor
    largest_known: Tensor
    smallest_known: Tensor
    largest_left: Tensor
    largest_right: Tensor
    smallest_left: Tensor
    smallest_right: Tensor


@dataclass(frozen=True)
class AtEnds:
    """Asked of a network in float64.

    Attributes:
        exact: Whether the Jacobian is written out; else products with it and with the Jacobian
            of the inverse map are taken.
        slopes: Whether the slopes are wanted.
        tolerance: Of the products' singular values, relative.
        steps: The most steps of each: two products a step.
    """

    exact: bool
    slopes: bool
    tolerance: float
    steps: int

    def cost(self, dimension: int) -> int:
        """Passes of one input: of the values, and a pass and its double backward for each slope."""
        products = dimension if self.exact else 4 * self.steps
        return 1 + 2 * products + (2 * 4 if self.slopes else 0)

    def __call__(self, network: Bijection, x: Tensor, random: Tensor) -> Ends:
        """Of inputs ``(B, *shape)``.

        Args:
            network: Which.
            x: Where.
            random: ``(B, *shape)``: where products begin, and which way is up where a backward
                pass cannot be differentiated.
        """
        if self.exact:
            at_a_time = max(1, LARGEST // x[0].numel() ** 2)
            parts = [_written_out(network, part) for part in torch.split(x, at_a_time)]
            found = _Found(*(torch.cat(one) for one in zip(*parts, strict=True)))
        else:
            found = self._by_products(network, x, random.flatten(1))
        largest, smallest = found.largest, found.smallest
        finite = largest.isfinite() & smallest.isfinite()
        floor = x[0].numel() * torch.finfo(x.dtype).eps * largest
        lowest = x.new_full((), -math.inf)
        forward = torch.where(finite, largest.log(), lowest)
        inverse = torch.where(finite, -torch.maximum(smallest, floor).log(), lowest)
        surely = -(smallest + (floor if self.exact else 0)).log()
        surely = torch.where(finite & (found.smallest_known | self.exact), surely, lowest)
        up, down = torch.zeros_like(x), torch.zeros_like(x)
        if self.slopes:
            try:
                # d log σ = dσ / σ: only the direction matters where one end alone is climbed,
                # but not of their sum.
                up = slope(network, x, found.largest_left, found.largest_right)
                up = up / _like(largest, x)
                down = slope(network, x, found.smallest_left, found.smallest_right)
                down = -down / _like(torch.maximum(smallest, floor), x)
            except RuntimeError:
                up = down = random
        known = found.largest_known, found.smallest_known
        slopes = up.nan_to_num(), down.nan_to_num()
        return Ends(forward, inverse, surely, *known, finite, *slopes)

    def _by_products(self, network: Bijection, x: Tensor, start: Tensor) -> _Found:
        extremes, *vectors = Krylov(self.tolerance, self.steps).triples(network, x, start)
        agreed = extremes.disagreement <= self.tolerance
        return _Found(
            extremes.largest,
            extremes.smallest,
            agreed & (extremes.largest_error <= self.tolerance),
            agreed & (extremes.smallest_error <= self.tolerance),
            *vectors,
        )


def _written_out(network: Bijection, x: Tensor) -> _Found:
    matrices = jacobian(network, x)
    finite = matrices.flatten(1).isfinite().all(1)
    # LAPACK fails on a matrix that is not finite.
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    u, values, vh = torch.linalg.svd(torch.where(finite[:, None, None], matrices, identity))
    values = torch.where(finite[:, None], values, torch.nan)
    largest, smallest = values[:, 0], values[:, -1]
    resolved = smallest > x[0].numel() * torch.finfo(x.dtype).eps * largest
    vectors = u[:, :, 0], vh[:, 0], u[:, :, -1], vh[:, -1]
    return _Found(largest, smallest, finite, resolved, *vectors)


def _like(numbers: Tensor, x: Tensor) -> Tensor:
    return numbers.view(-1, *[1] * (x.ndim - 1))
