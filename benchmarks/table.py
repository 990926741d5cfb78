"""The benchmark's results as one table."""

import math
from collections.abc import Sequence

from rich.table import Table

from benchmarks.row import Row

MET = {True: "yes", False: "NO", None: ""}


def table(rows: Sequence[Row]) -> Table:
    """A row a line: × is how many times as fast innbench is, ms how much longer it takes."""
    drawn = Table(box=None, pad_edge=False)
    for name in ("innbench", "against", "setting"):
        drawn.add_column(name, no_wrap=True)
    for name in ("ratio", "min–max", "target"):
        drawn.add_column(name, no_wrap=True, justify="right")
    drawn.add_column("met", no_wrap=True)
    last = ""
    for row in rows:
        if last and last != row.group + row.setting:
            drawn.add_section()
            drawn.add_row()
        last = row.group + row.setting
        drawn.add_row(
            row.subject,
            row.contender,
            row.setting,
            f"{figure(row.median)} {row.unit}",
            f"{figure(min(row.values))}–{figure(max(row.values))}",
            target(row),
            MET[row.met],
        )
    return drawn


def figure(value: float) -> str:
    """Two decimals below ten, one above, and above 10,000 the power: 1.04, 12.3 and 4e+10."""
    if math.isfinite(value) and abs(value) >= 10_000:
        return f"{value:.0e}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def target(row: Row) -> str:
    """``≥ 8`` or ``≤ 5``, or nothing where nothing was set."""
    if row.target is None:
        return ""
    return f"{'≥' if row.better == 'higher' else '≤'} {row.target:g}"
