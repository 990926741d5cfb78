"""Packs: cells that run as one program, since they differ only in numbers that do not change it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeVar

from harness import registry
from harness.suite.cell import Cell, canonical

LARGEST = 64
"""Members of an automatic pack: from here on more of them hardly raise the throughput."""

PackSize = Literal["auto", "off"] | int
Item = TypeVar("Item")


def program(cell: Cell) -> str:
    """What the members of a pack share: all but the seed and some numbers.

    Left out are learning rate, weight decay, gradient clip and the regularizer's weight, except
    whether that is 0, for then no penalty is computed.
    """
    content: dict[str, Any] = cell.model_dump(mode="json", exclude={"seed"})
    for number in ("learning_rate", "weight_decay", "gradient_clip"):
        del content["training"][number]
    parameters = content["regularizer"]["parameters"]
    if isinstance(parameters.get("weight"), int | float):
        parameters["weight"] = parameters["weight"] > 0
    return canonical(content)


def branching(cell: Cell) -> str | None:
    """In which direction a training step of the cell branches on data, or ``None``.

    Such a step cannot be vectorised, and the cell is trained alone.
    """
    branches = registry.get("architecture", cell.architecture.name).branches
    used = [
        direction
        for axis, choice in (("task", cell.task), ("regularizer", cell.regularizer))
        for direction in registry.get(axis, choice.name).uses
    ]
    return next((direction for direction in branches if direction in used), None)


def alone(cell: Cell) -> str | None:
    """Why a training step of the cell cannot be vectorised or compiled, or ``None``."""
    if cell.training.backpropagation != "autograd":
        return "its activations are rebuilt layer by layer"
    direction = branching(cell)
    return f"its {direction} branches on data" if direction else None


def packs(cells: Iterable[Cell], size: PackSize, slots: int) -> tuple[tuple[Cell, ...], ...]:
    """Groups of cells that one worker trains together, in the order of their first cells.

    Args:
        cells: What is to run.
        size: The most members of a pack; ``auto`` takes 64, or fewer where some slot would be
            left without work; ``off`` makes packs of one.
        slots: How many packs can run at a time.
    """
    cells = tuple(cells)
    if size == "auto":
        size = min(LARGEST, max(1, math.ceil(len(cells) / max(1, slots))))
    most = 1 if size == "off" else int(size)
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.id if alone(cell) else program(cell)].append(cell)
    return tuple(tuple(pack) for group in groups.values() for pack in parts(group, most))


def parts(cells: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """Parts of at most that many, as equal as can be: the slowest part decides."""
    if not cells:
        return []
    count = math.ceil(len(cells) / most)
    ends = [round(part * len(cells) / count) for part in range(count + 1)]
    return [cells[a:b] for a, b in pairwise(ends)]
