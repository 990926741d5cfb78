"""A plan as a person or a program reads it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.table import Table as RichTable
from rich.text import Text

from harness import costs, registry
from harness.memory.member import member_bytes
from harness.memory.pack_size import members_that_fit
from harness.progress import duration
from harness.results.render import drawing
from harness.suite.cell import Cell
from harness.suite.packs import alone, program
from harness.suite.plan import Plan
from harness.training.compilation import PAYS_FROM

MEASURED = 50
"""Programs whose memory a plan measures, some tenths of a second each; workers measure them all."""

LISTED = 20
"""Lines of packs in text."""


@dataclass
class Room:
    """What memory a plan's packs take on this machine.

    Attributes:
        device: Where they are trained.
        share: The part of its memory that is one pack's, in (0, 1].
    """

    device: torch.device
    share: float
    _programs: set[str] = field(default_factory=set)

    def member(self, cell: Cell) -> int | None:
        """Bytes of a member of this cell's program; ``None`` if unknown or not measured."""
        return member_bytes(cell) if self._measures(cell) else None

    def largest(self, cell: Cell) -> int | None:
        """The most members of its program that fit; ``None`` if unknown or not measured."""
        return members_that_fit(cell, self.device, self.share) if self._measures(cell) else None

    def _measures(self, cell: Cell) -> bool:
        key = program(cell)
        if len(self._programs) < MEASURED:
            self._programs.add(key)
        return key in self._programs


def as_text(plan: Plan, slots: int, room: Room) -> str:
    """One line a cell, then the packs, then the probes, then the sums."""
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
    packs = plan.trained_together(slots, room.largest)
    lines = [
        f"{len(plan.planned)} cells: {counts}",
        f"{len(plan.to_run)} to run in {len(packs)} pack{'s' * (len(packs) != 1)}"
        + (f": {time}" if plan.to_run else ""),
    ]
    if plan.compile:
        lines.append(compilation(plan))
    probes = costs.as_text(costs.probe_costs(plan.to_run))
    return drawing(table) + _packs(packs, room) + probes + "\n".join(lines) + "\n"


def compilation(plan: Plan) -> str:
    """How many of the cells that will run are compiled, in a sentence."""
    return f"{_compiled(plan)} of them compiled: those of {PAYS_FROM} steps and more"


def _compiled(plan: Plan) -> int:
    long = [cell for cell in plan.to_run if cell.training.steps >= PAYS_FROM]
    return sum(plan.compile and not alone(cell) for cell in long)


def _packs(packs: tuple[tuple[Cell, ...], ...], room: Room) -> str:
    """A line for all packs that are alike, the first of them where there are many."""
    alike = Counter(
        (len(pack), _readable(pack[0]), _size(_taken(pack, room)) if len(pack) > 1 else "")
        for pack in packs
    )
    if not alike:
        return ""
    table = RichTable(box=None, pad_edge=False)
    for column in ("packs", "of", "memory", "what"):
        table.add_column(column, no_wrap=column != "what")
    for (members, what, memory), count in list(alike.items())[:LISTED]:
        table.add_row(str(count), str(members), memory, Text(what))
    if (more := alike.total() - sum(list(alike.values())[:LISTED])) > 0:
        table.add_row(str(more), "", "", "more: innbench plan --json lists them")
    return "\n" + drawing(table) + "\n"


def _taken(pack: tuple[Cell, ...], room: Room) -> int | None:
    """Bytes that training takes; a pack of one is not measured."""
    member = room.member(pack[0]) if len(pack) > 1 else None
    return None if member is None else member * len(pack)


def _size(size: int | None) -> str:
    """``340 MB``, ``1.2 GB``."""
    if size is None:
        return "unknown"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def _readable(cell: Cell) -> str:
    """What the members of a pack share, in short."""
    others = {k: v for k, v in cell.regularizer.parameters.items() if k != "weight"}
    regularizer = cell.regularizer.model_copy(update={"parameters": others})
    names = (
        registry.label("architecture", cell.architecture),
        registry.label("regularizer", regularizer),
        registry.label("dataset", cell.dataset),
    )
    why = alone(cell)
    reason = f"; one by one, for {why}" if why else ""
    return f"{', '.join(names)}, batches of {cell.training.batch_size}{reason}"


def as_plain(plan: Plan, slots: int, room: Room) -> dict[str, Any]:
    """The same for JSON; unknown times and sizes are null."""
    expected = plan.expected(slots)
    unknown = expected.unknown == len(plan.to_run)
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
        "packs": [
            {"cell_ids": [cell.id for cell in pack], "memory_bytes": _taken(pack, room)}
            for pack in plan.trained_together(slots, room.largest)
        ],
        "probes": costs.as_plain(costs.probe_costs(plan.to_run)),
        "compiled_cells": _compiled(plan),
        "expected_seconds": None if plan.to_run and unknown else expected.seconds,
        "cells_of_unknown_time": expected.unknown,
        "at_a_time": slots,
    }
