"""A plan as a person or a program reads it."""

from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from harness.progress import duration
from harness.results.render import drawing
from harness.suite.plan import Plan


def as_text(plan: Plan, slots: int) -> str:
    """One line a cell, then the sums."""
    table = RichTable(box=None, pad_edge=False)
    for column in ("cell", "why", "expected"):
        table.add_column(column, no_wrap=column == "cell")
    for one in plan.planned:
        time = "unknown" if one.seconds is None else duration(one.seconds) if one.runs else ""
        table.add_row(Text(one.cell.id), Text(one.reason), time)
    counts = ", ".join(f"{count} {why}" for why, count in plan.counts().items() if count)
    expected = plan.expected(slots)
    known = duration(expected.seconds) if expected.unknown < len(plan.to_run) else "unknown time"
    time = f"{known}, {slots} at a time"
    if 0 < expected.unknown < len(plan.to_run):
        time += f", and {expected.unknown} cells of unknown time"
    packs = plan.packs(slots)
    lines = [
        f"{len(plan.planned)} cells: {counts}",
        f"{len(plan.to_run)} to run in {len(packs)} packs" + (f": {time}" if plan.to_run else ""),
    ]
    return drawing(table) + "\n".join(lines) + "\n"


def as_plain(plan: Plan, slots: int) -> dict[str, Any]:
    """The same for JSON; unknown times are null."""
    expected = plan.expected(slots)
    return {
        "cells": [
            {
                "cell_id": one.cell.id,
                "runs": one.runs,
                "why": str(one.why),
                "detail": one.detail,
                "expected_seconds": one.seconds,
            }
            for one in plan.planned
        ],
        "packs": [[cell.id for cell in pack] for pack in plan.packs(slots)],
        "expected_seconds": expected.seconds,
        "cells_of_unknown_time": expected.unknown,
        "at_a_time": slots,
    }
