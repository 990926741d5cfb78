"""Who competes: the cells of a suite, gathered by what is compared."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from harness.errors import InputError, allowed_and_nearest
from harness.results import layout
from harness.results.query import connect, unreadable


class PlannedCell(NamedTuple):
    """A cell that should be done.

    Attributes:
        cell_id: Its content-addressed id.
        architecture_label: Name with the parameters that differ from their defaults; likewise
            ``regularizer_label`` and ``dataset_label``.
        seed: The cell's seed.
        specification: JSON of everything that decides its numbers.
    """

    cell_id: str
    architecture_label: str
    regularizer_label: str
    dataset_label: str
    seed: int
    specification: str


@dataclass(frozen=True)
class Score:
    """One cell, as ``analysis/sql/leaderboards/stability.sql`` gives it: its columns, by name."""

    cell_id: str
    architecture_label: str
    regularizer_label: str
    dataset_label: str
    seed: int
    off_error: float | None
    off_sets_none_finite: int
    test_error: float | None
    non_finite: float | None
    worst_non_finite: float | None
    ranked_non_finite: float | None
    failed: bool
    blown_up: float | None
    task_metric: str | None
    task_score: float | None
    forward_measured: float | None
    forward_bound: float | None
    forward_violated: bool
    inverse_measured: float | None
    inverse_unresolved: bool
    inverse_bound: float | None
    inverse_violated: bool
    specification: str


@dataclass(frozen=True, order=True)
class Entrant:
    """What is ranked.

    Attributes:
        architecture: Label of the architecture.
        regularizer: Label of the regularizer.
        settings: What else tells it from another entrant of the same labels, or empty.
    """

    architecture: str
    regularizer: str
    settings: str = ""


Gathered = dict[Entrant, dict[str, list[Score]]]
"""Cells done, by entrant and by label of the dataset."""

Counts = dict[tuple[Entrant, str], int]
"""How many cells should be done, by entrant and label of the dataset."""


def read_scores(store: Path, suite: str, sql: str) -> list[Score]:
    """The cells of a suite as a leaderboard's SQL gives them.

    Raises:
        InputError: There is no such store, or no such suite in it.
    """
    connection = connect(store)
    known = layout.suites(store)
    try:
        if suite not in known:
            hint = allowed_and_nearest(suite, known)
            raise InputError(f"the store {store} has no suite {suite!r}; {hint}")
        columns = ", ".join(Score.__dataclass_fields__)
        rows = connection.execute(
            f"select {columns} from (\n{sql}\n) where suite = $suite order by cell_id",  # noqa: S608
            {"suite": suite},
        ).fetchall()
    except duckdb.Error as error:
        raise unreadable(error, store) from error
    finally:
        connection.close()
    return [Score(*row) for row in rows]


def gather(
    scores: Sequence[Score], planned: Sequence[PlannedCell] | None
) -> tuple[Gathered, Counts]:
    """Cells done by entrant and dataset, and how many there should be.

    An entrant is an architecture and a regularizer, by their labels. Where that leaves several
    cells of one dataset and seed, they differ in something else, such as a training setting or
    the version of an entry: then every value of it is an entrant of its own. A setting that only
    goes with the dataset, such as more steps for images, does not split an entrant.

    Args:
        scores: The cells done.
        planned: The cells that count, done or not: what differs among them tells entrants apart,
            however much is done. Without it every cell done counts, and an entrant should have as
            many on a dataset as any entrant has there.
    """
    # A plan also has the labels of today; those in a store are of the day it was written.
    counting = {cell.cell_id: cell for cell in (scores if planned is None else planned)}
    entrants = _entrants(counting.values())
    gathered: Gathered = {}
    for score in scores:
        if score.cell_id in counting:
            by_dataset = gathered.setdefault(entrants[score.cell_id], defaultdict(list))
            by_dataset[counting[score.cell_id].dataset_label].append(score)
    if planned is None:
        return gathered, _most_done(gathered)
    counts = Counter((entrants[cell.cell_id], cell.dataset_label) for cell in counting.values())
    return gathered, dict(counts)


def _entrants(cells: Iterable[PlannedCell | Score]) -> dict[str, Entrant]:
    """The entrant of each cell, by its id."""
    cells = list(cells)
    leaves = {cell.cell_id: dict(_leaves(json.loads(cell.specification), "")) for cell in cells}
    alike = defaultdict(list)
    for c in cells:
        alike[c.architecture_label, c.regularizer_label, c.dataset_label, c.seed].append(c.cell_id)
    varying: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (architecture, regularizer, *_), ids in alike.items():
        for path in {path for cell_id in ids for path in leaves[cell_id]}:
            if len({leaves[cell_id].get(path) for cell_id in ids}) > 1:
                varying[architecture, regularizer].add(path)
    entrants = {}
    for cell in cells:
        paths = sorted(varying[cell.architecture_label, cell.regularizer_label])
        own = leaves[cell.cell_id]
        # What a specification leaves out has its default (harness/suite/model.py, LATER).
        settings = ", ".join(f"{path}={own.get(path, 'default')}" for path in paths)
        entrants[cell.cell_id] = Entrant(cell.architecture_label, cell.regularizer_label, settings)
    return entrants


def _most_done(gathered: Gathered) -> Counts:
    """For every entrant as many cells on each dataset as any entrant has there."""
    most: dict[str, int] = defaultdict(int)
    for datasets in gathered.values():
        for dataset, cells in datasets.items():
            most[dataset] = max(most[dataset], len(cells))
    return {(entrant, dataset): n for entrant in gathered for dataset, n in most.items()}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every plain value of a specification, by a path that a person can read."""
    if isinstance(value, dict):
        for key, item in value.items():
            # "parameters" says nothing to a reader: architecture.depth
            inner = path if key == "parameters" else f"{path}.{key}".lstrip(".")
            yield from _leaves(item, inner)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _leaves(item, f"{path}[{place}]")
    else:
        yield path, json.dumps(value)
