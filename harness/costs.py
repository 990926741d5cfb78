"""What the probes of a plan cost: passes of one input through a network, forward or back."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.table import Table as RichTable
from rich.text import Text

from harness import registry
from harness.datasets.base import Dataset
from harness.datasets.off_distribution import off_distribution_names
from harness.registry import Choice
from harness.results.render import drawing
from harness.suite.cell import Cell, canonical


class Range(NamedTuple):
    """The least and the most of the cells that run."""

    least: int
    most: int

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "Range":
        """Of at least one number."""
        found = sorted(set(numbers))
        return cls(found[0], found[-1])

    def __str__(self) -> str:
        shown = f"{self.least:,}"
        return shown if self.least == self.most else f"{shown}–{self.most:,}"


@dataclass(frozen=True)
class ProbeCost:
    """What one probe of the cells that run costs.

    Attributes:
        probe: The probe.
        passes: Of one cell, each time it is asked; ``None`` where its entry does not say.
        times: How often it is asked in a cell.
        of_all: Passes of all cells together.
    """

    probe: Choice
    passes: Range | None
    times: Range
    of_all: int | None


def probe_costs(cells: Sequence[Cell]) -> list[ProbeCost]:
    """What the probes of these cells cost, in the order of the cells' probes."""
    asked: dict[str, Choice] = {}
    found: dict[str, list[tuple[int | None, int]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    passes: dict[tuple[str, str], int | None] = {}
    for cell in cells:
        data = canonical(cell.dataset.model_dump())
        if data not in sizes:
            sizes[data] = _size(cell.dataset)
        for probe in cell.probes:
            name = canonical(probe.model_dump())
            if (name, data) not in passes:
                passes[name, data] = _passes(probe, *sizes[data])
            asked[name] = probe
            found.setdefault(name, []).append((passes[name, data], times(probe, cell)))
    return [_sum(asked[name], each) for name, each in found.items()]


def times(probe: Choice, cell: Cell) -> int:
    """How often a probe is asked in a cell that trains to its end: then, and before some steps."""
    return 1 + (math.ceil(cell.training.steps / probe.every) if probe.every else 0)


def _size(choice: Choice) -> tuple[int, int]:
    """Dimensions of an input, and how many sets of inputs a network is probed on."""
    dataset: Dataset = registry.build("dataset", choice)
    return math.prod(dataset.shape), 1 + len(off_distribution_names(dataset))


def _passes(probe: Choice, dimension: int, sets: int) -> int | None:
    cost = registry.get("probe", probe.name).cost
    if cost is None:
        return None
    try:
        return int(cost(probe.parameters, dimension, sets))
    except Exception:  # a stranger's: a plan shows what it can
        return None


def _sum(probe: Choice, each: Sequence[tuple[int | None, int]]) -> ProbeCost:
    often = Range.of(count for _, count in each)
    known = [(passes, count) for passes, count in each if passes is not None]
    if len(known) < len(each):
        return ProbeCost(probe, None, often, None)
    of_all = sum(passes * count for passes, count in known)
    return ProbeCost(probe, Range.of(passes for passes, _ in known), often, of_all)


def as_text(costs: Sequence[ProbeCost]) -> str:
    """A line for each probe; empty where nothing runs."""
    if not costs:
        return ""
    table = RichTable(box=None, pad_edge=False)
    for column in ("probe", "passes each time", "times a cell", "passes of all cells"):
        table.add_column(column, justify="left" if column == "probe" else "right")
    for one in costs:
        every = f" (every {one.probe.every:,} steps)" if one.probe.every else ""
        table.add_row(
            Text(registry.label("probe", one.probe) + every),
            "unknown" if one.passes is None else str(one.passes),
            str(one.times),
            "unknown" if one.of_all is None else f"{one.of_all:,}",
        )
    return drawing(table) + "\n"


def as_plain(costs: Sequence[ProbeCost]) -> list[dict[str, Any]]:
    """The same for JSON; what is unknown is null."""
    return [
        {
            "probe": one.probe.name,
            "parameters": one.probe.parameters,
            "every": one.probe.every,
            "passes_each_time": one.passes and one.passes._asdict(),
            "times_a_cell": one.times._asdict(),
            "passes_of_all_cells": one.of_all,
        }
        for one in costs
    ]
