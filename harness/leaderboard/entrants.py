"""Who competes: the cells of a suite, gathered by what is compared."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from harness.errors import InputError, allowed_and_nearest
from harness.results import layout
from harness.results.query import connect, unreadable


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
    failed: bool
    blown_up: float | None
    task_metric: str | None
    task_score: float | None
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
"""Cells by entrant and by label of the dataset."""


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
        raise unreadable(error) from error
    finally:
        connection.close()
    return [Score(*row) for row in rows]


def gather(scores: Iterable[Score]) -> Gathered:
    """Cells by entrant and dataset.

    An entrant is an architecture and a regularizer, by their labels. Where that leaves several
    cells of one dataset and seed, they differ in something else, such as a training setting or
    the version of an entry: then every value of it is an entrant of its own. A setting that only
    goes with the dataset, such as more steps for images, does not split an entrant.
    """
    scores = list(scores)
    leaves = {s.cell_id: dict(_leaves(json.loads(s.specification), "")) for s in scores}
    alike = defaultdict(list)
    for s in scores:
        alike[s.architecture_label, s.regularizer_label, s.dataset_label, s.seed].append(s)
    varying: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (architecture, regularizer, *_), cells in alike.items():
        for path in {path for cell in cells for path in leaves[cell.cell_id]}:
            if len({leaves[cell.cell_id].get(path) for cell in cells}) > 1:
                varying[architecture, regularizer].add(path)
    gathered: Gathered = {}
    for s in scores:
        paths = sorted(varying[s.architecture_label, s.regularizer_label])
        own = leaves[s.cell_id]
        settings = ", ".join(f"{path}={own.get(path, 'unset')}" for path in paths)
        entrant = Entrant(s.architecture_label, s.regularizer_label, settings)
        gathered.setdefault(entrant, defaultdict(list))[s.dataset_label].append(s)
    return gathered


def expected(
    gathered: Gathered, planned: Mapping[tuple[str, str, str], int] | None
) -> dict[tuple[Entrant, str], int]:
    """How many cells each entrant should have on each dataset.

    ``planned`` counts by (architecture label, regularizer label, dataset label); entrants that
    share their labels share the count evenly. Without it: as many as any entrant has there.
    """
    if planned is None:
        most: dict[str, int] = defaultdict(int)
        for datasets in gathered.values():
            for dataset, cells in datasets.items():
                most[dataset] = max(most[dataset], len(cells))
        return {(entrant, dataset): n for entrant in gathered for dataset, n in most.items()}
    counts = {}
    for (architecture, regularizer, dataset), n in planned.items():
        sharing = [
            e for e in gathered if (e.architecture, e.regularizer) == (architecture, regularizer)
        ]
        for entrant in sharing or [Entrant(architecture, regularizer)]:
            counts[entrant, dataset] = -(-n // max(1, len(sharing)))
    return counts


def only_these(scores: list[Score], cells: Collection[str] | None) -> list[Score]:
    """The scores of these cells; all of them where that is ``None``."""
    return scores if cells is None else [s for s in scores if s.cell_id in cells]


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
