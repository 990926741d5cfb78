"""What a run would do, cell by cell, and why; nothing is touched."""

import heapq
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from harness.record import Status
from harness.suite.cell import Cell, canonical
from harness.suite.difference import Fields, Specification, parsed
from harness.suite.packs import PackSize, packs, parts

MAX_CANDIDATES = 1000
"""Stored cells that one is compared with, so that no plan takes quadratic time."""

Largest = Callable[[Cell], int | None]


class Done(NamedTuple):
    """What is known of a cell in the store.

    Attributes:
        specification: Its canonical JSON.
        seconds: How long it took, training and probes together.
        status: How it ended, such as ``ok`` or ``diverged``.
    """

    specification: str
    seconds: float
    status: str


class Why(StrEnum):
    """Why a cell will run, or will not: ``CACHED`` alone will not."""

    CACHED = "cached"
    NEW = "new"
    FAILED = "failed before"
    CHANGED = "changed"


@dataclass(frozen=True)
class Planned:
    """One cell of a plan.

    Attributes:
        cell: The cell.
        why: The kind of reason.
        detail: The class of failure, or which fields differ from the nearest stored cell.
        seconds: Expected time, if the store knows like cells; 0 for a cell that will not run.
    """

    cell: Cell
    why: Why
    detail: str
    seconds: float | None

    @property
    def runs(self) -> bool:
        """Whether it will run."""
        return self.why is not Why.CACHED

    @property
    def reason(self) -> str:
        """In words: ``cached``, ``changed (training.steps 300 → 500)``."""
        return f"{self.why} ({self.detail})" if self.detail else str(self.why)


class Expected(NamedTuple):
    """Time that a plan will take.

    Attributes:
        seconds: Wall time of the cells whose time is known.
        unknown: How many cells will run whose time is not known.
    """

    seconds: float
    unknown: int


@dataclass(frozen=True)
class Plan:
    """All cells of a suite, in its order.

    Attributes:
        planned: The cells.
        pack: How many of them may be trained together.
        compile: Whether the training steps of long runs are compiled.
    """

    planned: tuple[Planned, ...]
    pack: PackSize = "auto"
    compile: bool = False

    @property
    def to_run(self) -> tuple[Cell, ...]:
        """The cells that will run."""
        return tuple(one.cell for one in self.planned if one.runs)

    def counts(self) -> dict[Why, int]:
        """How many cells there are for each kind of reason."""
        return {why: sum(one.why is why for one in self.planned) for why in Why}

    def packs(self, slots: int) -> tuple[tuple[Cell, ...], ...]:
        """The cells that will run, as they are trained together where ``slots`` packs can run."""
        return packs(self.to_run, self.pack, slots)

    def trained_together(self, slots: int, largest: Largest) -> tuple[tuple[Cell, ...], ...]:
        """The same packs, cut into the parts that a worker trains one after the other.

        Args:
            slots: How many packs can run at a time.
            largest: The most cells of the program of one that memory has room for, ``None`` where
                that is unknown; not asked for a pack of one.
        """
        found: list[tuple[Cell, ...]] = []
        for pack in self.packs(slots):
            most = (largest(pack[0]) if len(pack) > 1 else None) or len(pack)
            found += [tuple(part) for part in parts(pack, most)]
        return tuple(found)

    def expected(self, slots: int) -> Expected:
        """Wall time if ``slots`` packs run at a time, each slot taking the next as it is free.

        Cells of before count with their share of the pack that they were in.

        Raises:
            ValueError: ``slots`` is below 1.
        """
        if slots < 1:
            raise ValueError("a plan needs one slot at least")
        seconds = {one.cell.id: one.seconds for one in self.planned if one.runs}
        free = [0.0] * slots
        for pack in self.packs(slots):
            known = [seconds[cell.id] or 0.0 for cell in pack]
            heapq.heapreplace(free, free[0] + sum(known))
        return Expected(max(free), sum(one is None for one in seconds.values()))


def plan(
    cells: Iterable[Cell],
    done: Mapping[str, Done],
    failed: Mapping[str, str],
    pack: PackSize = "auto",
) -> Plan:
    """Say of each cell whether and why it will run, and how long it should take.

    A cell with a result is not run, whatever the result. A cell that failed before is run again.
    A cell is *changed* if the store has a cell of the same entries' names and seed that the suite
    no longer asks for; the one with the fewest differences is named.

    Args:
        cells: The suite's cells.
        done: Stored cells of the suite, by id.
        failed: Class of the last failure of cells without a result, by id.
        pack: How many cells may be trained together.
    """
    cells = tuple(cells)
    ids = {cell.id for cell in cells}
    stored = {key: parsed(one.specification) for key, one in done.items()}
    known = {key: specification for key, specification in stored.items() if specification}
    given_up: dict[tuple[object, ...], list[Fields]] = defaultdict(list)
    for key in sorted(known):
        if key not in ids:
            given_up[_names_and_seed(known[key])].append(Fields(known[key]))
    times = _Times([(known[key], done[key]) for key in known])
    planned = []
    for cell in cells:
        if cell.id in done:
            status = done[cell.id].status
            detail = "" if status == Status.OK else status
            planned.append(Planned(cell, Why.CACHED, detail, 0.0))
            continue
        specification = parsed(cell.specification()) or {}
        seconds = times.expected(specification)
        if cell.id in failed:
            planned.append(Planned(cell, Why.FAILED, failed[cell.id], seconds))
            continue
        if candidates := given_up.get(_names_and_seed(specification)):
            fields = Fields(specification)
            nearest = min(candidates[:MAX_CANDIDATES], key=fields.distance)
            detail = _listing(nearest.changes(fields))
            planned.append(Planned(cell, Why.CHANGED, detail, seconds))
        else:
            planned.append(Planned(cell, Why.NEW, "", seconds))
    return Plan(tuple(planned), pack)


def _name(specification: Specification, axis: str) -> object:
    choice = specification.get(axis)
    return choice.get("name") if isinstance(choice, dict) else None


def _names_and_seed(specification: Specification) -> tuple[object, ...]:
    axes = ("architecture", "regularizer", "dataset")
    return (*(_name(specification, axis) for axis in axes), specification.get("seed"))


def _steps(specification: Specification) -> float:
    training = specification.get("training")
    steps = training.get("steps") if isinstance(training, dict) else None
    return max(1.0, float(steps)) if isinstance(steps, int | float) else math.nan


def _listing(differences: Sequence[str]) -> str:
    more = [f"{len(differences) - 3} more"] if len(differences) > 3 else []
    return ", ".join([*differences[:3], *more])


class _Times:
    """Seconds of stored cells, so that like cells can be looked up."""

    def __init__(self, stored: Iterable[tuple[Specification, Done]]) -> None:
        self.but_seed: dict[str, list[float]] = defaultdict(list)
        self.per_step: dict[tuple[object, object], list[float]] = defaultdict(list)
        # A diverged cell stops early: its time says nothing of one that does not.
        for specification, one in stored:
            if one.status == Status.OK and math.isfinite(one.seconds):
                self.but_seed[_but_seed(specification)].append(one.seconds)
                rate = one.seconds / _steps(specification)
                if math.isfinite(rate):
                    self.per_step[_kind(specification)].append(rate)

    def expected(self, specification: Specification) -> float | None:
        """Median of the cells that differ in the seed alone; else of those alike, by steps."""
        if same := self.but_seed.get(_but_seed(specification)):
            return statistics.median(same)
        if alike := self.per_step.get(_kind(specification)):
            return statistics.median(alike) * _steps(specification)
        return None


def _but_seed(specification: Specification) -> str:
    return canonical({key: item for key, item in specification.items() if key != "seed"})


def _kind(specification: Specification) -> tuple[object, object]:
    return _name(specification, "architecture"), _name(specification, "dataset")
