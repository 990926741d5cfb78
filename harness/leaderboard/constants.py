"""Lipschitz constants of an entrant: bound beside measured."""

import math
from collections.abc import Sequence

from harness.leaderboard.entrants import Score
from harness.leaderboard.rows import Constant, Row


def forward(cells: Sequence[Score]) -> Constant | None:
    """Of the network: σ_max; ``None`` where it was measured of no cell."""
    pairs = [(cell.forward_measured, cell.forward_bound) for cell in cells]
    return _constant(pairs, violated=sum(cell.forward_violated for cell in cells), unresolved=0)


def inverse(cells: Sequence[Score]) -> Constant | None:
    """Of its inverse: 1/σ_min; likewise."""
    return _constant(
        [(cell.inverse_measured, cell.inverse_bound) for cell in cells],
        violated=sum(cell.inverse_violated for cell in cells),
        unresolved=sum(cell.inverse_unresolved for cell in cells),
    )


def _constant(
    found: list[tuple[float | None, float | None]], *, violated: int, unresolved: int
) -> Constant | None:
    pairs = [(m, b) for m, b in found if m is not None and b is not None]
    if not pairs:
        return None
    bounds = [bound for _, bound in pairs]
    return Constant(
        measured=_largest([measured for measured, _ in pairs]),
        bound=math.nan if any(map(math.isnan, bounds)) else max(bounds),
        closest=_largest([_share(*pair) for pair in pairs]),
        violated=violated,
        unresolved=unresolved,
    )


def _largest(values: list[float]) -> float:
    """NaN is no value, unless there is no other."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _share(measured: float, bound: float) -> float:
    """Of the bound; NaN where there is none."""
    return measured / bound if 0 < bound < math.inf else math.nan


def violations(rows: Sequence[Row]) -> list[str]:
    """Who was measured above a bound, of which map, and in how many cells."""
    return [
        f"{row.entrant.architecture} + {row.entrant.regularizer}, {name}, in {constant.violated} "
        f"of {row.done} cells"
        for row in rows
        for name, constant in (("forward", row.forward), ("inverse", row.inverse))
        if constant and constant.violated
    ]
