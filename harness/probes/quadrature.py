"""The integral of a function over a box, by adaptive Gauss-Legendre quadrature."""

import itertools
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.bijections.box import Box

SIDE = 8
"""Cells along each side of the box, before any is split."""
ORDER = 8
"""Points along each side of a cell: exact for polynomials up to degree 15 in each entry."""
AT_A_TIME = 2**16


class Integral(NamedTuple):
    """An integral over a box.

    Attributes:
        value: Where the function is finite.
        error: The sum over all cells of how much their value moved when they were last split.
        edge: How much of it lies in the outermost of the first cells: an eighth of the box on each
            side. Where it is not small, the box cuts something off.
        points: How often the function was evaluated.
        lost: At how many of these points it is not finite.
    """

    value: float
    error: float
    edge: float
    points: int
    lost: int


class _Cells(NamedTuple):
    """``C`` cells in units of the box: corners ``(C, D)``; widths, integrals, errors ``(C,)``."""

    corner: Tensor
    width: Tensor
    value: Tensor
    error: Tensor

    def where(self, chosen: Tensor) -> "_Cells":
        return _Cells(*(one[chosen] for one in self))


async def integrate(
    function: Callable[[Tensor], Awaitable[Tensor]], box: Box, tolerance: float, most: int
) -> Integral:
    """``∫ f(x) dx``; the cells that are least known are split until their errors are small.

    Every cell is split once at least. Then ``error`` is that of the coarser rule, and what is
    narrower than a 64th of the box may be missed by both. D dimensions: cells have ``8^D`` points
    and split in ``2^D``, so this is for one or two.

    Args:
        function: Of points ``(N, D)`` in float64, ``(N,)``.
        box: Of vectors ``(D,)``.
        tolerance: Absolute, of ``error``.
        most: Evaluations, at which it stops as it is.
    """
    lower, extent = box.lower.double(), (box.upper - box.lower).double()
    dimension = len(lower)
    nodes, weights = _rule(dimension)
    nodes, weights = nodes.to(lower), weights.to(lower)
    evaluated = lost = 0

    async def measured(corner: Tensor, width: Tensor, error: Tensor) -> _Cells:
        """In units of the box."""
        nonlocal evaluated, lost
        unit = corner.unsqueeze(1) + width.view(-1, 1, 1) * nodes
        x = lower + extent * unit.flatten(0, 1)
        f = torch.cat([await function(part) for part in torch.split(x, AT_A_TIME)]).double()
        evaluated, lost = evaluated + len(f), lost + int((~f.isfinite()).sum())
        f = torch.where(f.isfinite(), f, 0.0).view(len(corner), -1)
        return _Cells(corner, width, (f @ weights) * width**dimension * extent.prod(), error)

    halves = _grid(2, dimension).to(lower)
    first = _grid(SIDE, dimension).to(lower)
    width = torch.full((len(first),), 1 / SIDE, dtype=torch.float64, device=lower.device)
    cells = await measured(first, width, torch.full_like(width, torch.inf))
    while True:
        split = _least_known(cells.error, tolerance)
        parts, kept = cells.where(split), cells.where(~split)
        if evaluated + int(split.sum()) * len(halves) * len(nodes) > most or not split.any():
            break
        corner = (parts.corner.unsqueeze(1) + parts.width.view(-1, 1, 1) * halves).flatten(0, 1)
        width = (parts.width / 2).repeat_interleave(len(halves))
        finer = await measured(corner, width, torch.zeros_like(width))
        moved = (finer.value.view(len(parts.value), -1).sum(1) - parts.value).abs() / len(halves)
        finer = finer._replace(error=moved.repeat_interleave(len(halves)))
        cells = _Cells(*(torch.cat(pair) for pair in zip(kept, finer, strict=True)))
    outermost = ((cells.corner + cells.width.unsqueeze(1) / 2 - 0.5).abs() > 0.5 - 1 / SIDE).any(1)
    total, edge = cells.value.sum(), cells.value[outermost].sum()
    return Integral(float(total), float(cells.error.sum()), float(edge), evaluated, lost)


def _least_known(error: Tensor, tolerance: float) -> Tensor:
    """The cells without which the error would be half of what is allowed; none, if it is."""
    if float(error.sum()) <= tolerance:
        return torch.zeros_like(error, dtype=torch.bool)
    ascending, order = error.sort()
    chosen = torch.empty_like(error, dtype=torch.bool)
    chosen[order] = ascending.cumsum(0) > tolerance / 2
    return chosen


def _rule(dimension: int) -> tuple[Tensor, Tensor]:
    """Points of the unit cell and their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(ORDER)
    points = itertools.product((nodes + 1) / 2, repeat=dimension)
    products = [float(np.prod(one)) for one in itertools.product(weights / 2, repeat=dimension)]
    return torch.tensor(list(points)), torch.tensor(products)


def _grid(side: int, dimension: int) -> Tensor:
    """Corners of the unit box's cells."""
    ends = torch.arange(side, dtype=torch.float64) / side
    return torch.cartesian_prod(*[ends] * dimension).view(-1, dimension)
