"""The leaderboard of a suite: its cells, averaged and ranked; it reads only results.

Seeds are averaged first, within a dataset; datasets count alike, however many seeds they have.
docs/decisions/ranking.md says why each number is what it is.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness import resources
from harness.errors import InputError
from harness.leaderboard import constants, footnotes
from harness.leaderboard.entrants import (
    Counts,
    Entrant,
    Gathered,
    PlannedCell,
    Score,
    gather,
    read_scores,
)
from harness.leaderboard.rows import Board, Detail, Estimate, Row
from harness.leaderboard.statistics import (
    finite_mean,
    interquartile_mean,
    interval,
    ranks,
    resampled,
    wilson,
)

DRAWS = 2000
BOOTSTRAP_SEED = 0
SQL = "leaderboards/stability.sql"
_FLOOR = 2.0**-23  # as in the SQL: float32 tells no smaller error apart


def leaderboard(store: Path, suite: str, planned: Sequence[PlannedCell] | None = None) -> Board:
    """Rank what a store holds of a suite.

    Args:
        store: The store.
        suite: Name of the suite.
        planned: The cells of the suite as it is now, done or not; no others count. Without it,
            every cell that the store holds of the suite does, and as many as any entrant has done
            on a dataset are taken to be planned.

    Raises:
        InputError: There is no such store or suite, or nothing to rank.
    """
    sql = (resources.sql_folder() / SQL).read_text()
    found = read_scores(store, suite, sql)
    gathered, counts = gather(found, planned)
    if not gathered and not counts:
        raise InputError(f"no cell of suite {suite!r} is done in {store}; nothing to rank yet")
    entrants = sorted({*gathered, *(entrant for entrant, _ in counts)})
    datasets = sorted({d for by in gathered.values() for d in by} | {d for _, d in counts})
    table = _Numbers(gathered, counts, entrants, datasets)
    rows, details = table.rows(), table.details()
    order = sorted(range(len(rows)), key=lambda i: _place(rows[i]))
    seeds = {len(cells) for by in gathered.values() for cells in by.values()}
    done = sum(row.done for row in rows)
    notes = footnotes.of(
        datasets=len(datasets),
        seeds=seeds,
        planned_known=planned is not None,
        outside=len(found) - done,
        incomplete=not all(row.complete for row in rows),
        left_out=any(row.left_out and not math.isnan(row.off_error.value) for row in rows),
        draws_lost=table.draws_lost(),
        unmeasured=any(row.done and not (row.measured or row.failed) for row in rows),
        violations=constants.violations(rows),
        bounded=any(row.forward for row in rows),
        unresolved=any(row.inverse and row.inverse.unresolved for row in rows),
        draws=DRAWS,
        bootstrap_seed=BOOTSTRAP_SEED,
        sql=f"analysis/sql/{SQL}",
    )
    return Board(
        suite=suite,
        rows=tuple(rows[i] for i in order),
        details=tuple(d for i in order for d in details if d.entrant == rows[i].entrant),
        footnotes=notes,
        sql=sql,
        bootstrap_seed=BOOTSTRAP_SEED,
        draws=DRAWS,
    )


def _place(row: Row) -> tuple[float, float, Entrant]:
    """By rank, which has the incomplete behind the complete already; what is not a number last."""
    keys = (row.rank.value, row.off_error.value)
    rank, error = (math.inf if math.isnan(key) else key for key in keys)
    return rank, error, row.entrant


class _Numbers:
    """All numbers of all entrants (e) on all datasets (d), averaged over seeds, and resampled."""

    def __init__(
        self,
        gathered: Gathered,
        counts: Counts,
        entrants: list[Entrant],
        datasets: list[str],
    ) -> None:
        self.entrants, self.datasets = entrants, datasets
        self.cells = [[gathered.get(e, {}).get(d, []) for d in datasets] for e in entrants]
        self.planned = [[counts.get((e, d), 0) for d in datasets] for e in entrants]
        self.complete = [
            all(len(c) >= n for c, n in zip(cells, planned, strict=True))
            for cells, planned in zip(self.cells, self.planned, strict=True)
        ]
        size = (len(entrants), len(datasets))
        self.means = np.full((*size, len(_COLUMNS)), math.nan)
        self.error_draws = np.full((DRAWS, *size), math.nan)
        self.share_draws = np.full((DRAWS, *size), math.nan)
        generator = np.random.default_rng(BOOTSTRAP_SEED)
        for e, d in np.ndindex(*size):
            numbers = np.array([_numbers(s) for s in self.cells[e][d]], np.float64)
            if not numbers.size:
                continue
            self.means[e, d] = finite_mean(numbers.T)
            drawn = finite_mean(resampled(numbers.T[:2], DRAWS, generator))
            self.error_draws[:, e, d], self.share_draws[:, e, d] = drawn.T
        late = np.array([not complete for complete in self.complete], np.float64)
        self.ranks = np.stack(
            [ranks(late, self.means[:, d, 1], self.means[:, d, 0]) for d in range(size[1])], axis=-1
        )
        shares, errors = (np.moveaxis(x, 2, 0) for x in (self.share_draws, self.error_draws))
        self.rank_draws = np.mean(
            [
                ranks(np.broadcast_to(late, share.shape), share, error)
                for share, error in zip(shares, errors, strict=True)
            ],
            axis=0,
        )

    def draws_lost(self) -> bool:
        """Whether some draws of a dataset's seeds held nothing finite, and others did."""
        finite = np.isfinite(self.error_draws).any(axis=0)
        return bool((finite & ~np.isfinite(self.error_draws).all(axis=0)).any())

    def rows(self) -> list[Row]:
        return [self._row(e) for e in range(len(self.entrants))]

    def details(self) -> list[Detail]:
        return [
            self._detail(e, d)
            for e in range(len(self.entrants))
            for d in range(len(self.datasets))
            if self.cells[e][d] or self.planned[e][d]
        ]

    def _row(self, e: int) -> Row:
        cells = [cell for by in self.cells[e] for cell in by]
        repeated = any(len(by) > 1 for by in self.cells[e])  # else resampling moves nothing
        failed = sum(cell.failed for cell in cells)
        means = self.means[e].T  # one row per column of _COLUMNS
        over_datasets = finite_mean(means)
        log_off, log_test = interquartile_mean(means[[0, 2]]).tolist()
        none = (math.nan, math.nan)
        low, high = interval(interquartile_mean(self.error_draws[:, e])) if repeated else none
        metric = _only({cell.task_metric for cell in cells})
        return Row(
            entrant=self.entrants[e],
            complete=self.complete[e],
            done=len(cells),
            planned=sum(self.planned[e]),
            rank=Estimate(
                float(self.ranks[e].mean()) if cells else math.nan,
                *(interval(self.rank_draws[:, e]) if repeated else none),
            ),
            off_error=Estimate(10**log_off, 10**low, 10**high),
            measured=any(cell.off_error is not None for cell in cells),
            left_out=sum(cell.off_sets_none_finite + _lost(cell.test_error) for cell in cells),
            test_error=10**log_test,
            non_finite=float(over_datasets[5]),
            worst_non_finite=max((_number(c.worst_non_finite) for c in cells), default=math.nan),
            failed=failed,
            failure_rate=Estimate(
                failed / len(cells) if cells else math.nan, *wilson(failed, len(cells))
            ),
            blown_up=float(over_datasets[3]),
            task_metric=metric,
            task_score=float(over_datasets[4]) if metric else math.nan,
            task_not_finite=sum(_lost(cell.task_score) for cell in cells),
            forward=constants.forward(cells),
            inverse=constants.inverse(cells),
        )

    def _detail(self, e: int, d: int) -> Detail:
        cells = self.cells[e][d]
        log_off, _, log_test, blown_up, score, share = map(float, self.means[e, d])
        return Detail(
            entrant=self.entrants[e],
            dataset=self.datasets[d],
            done=len(cells),
            planned=self.planned[e][d],
            rank=float(self.ranks[e, d]) if cells else math.nan,
            off_error=10**log_off,
            test_error=10**log_test,
            non_finite=share,
            failed=sum(cell.failed for cell in cells),
            blown_up=blown_up,
            task_metric=_only({cell.task_metric for cell in cells}),
            task_score=score,
            forward=constants.forward(cells),
            inverse=constants.inverse(cells),
        )


_COLUMNS = (
    "log10 off_error",
    "ranked_non_finite",
    "log10 test_error",
    "blown_up",
    "task_score",
    "non_finite",
)


def _numbers(score: Score) -> list[float]:
    """The numbers of a cell in the order of ``_COLUMNS``; NaN where one is missing."""
    return [
        _log10(score.off_error),
        _number(score.ranked_non_finite),
        _log10(score.test_error),
        _number(score.blown_up),
        _number(score.task_score),
        _number(score.non_finite),
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _log10(value: float | None) -> float:
    number = _number(value)
    return math.log10(max(number, _FLOOR)) if math.isfinite(number) else math.nan


def _lost(value: float | None) -> int:
    """1 for a number that was measured and is not finite."""
    return int(value is not None and not math.isfinite(value))


def _only(names: set[str | None]) -> str:
    """The one name among them, if there is one; a cell without a score names none."""
    given = {name for name in names if name}
    return given.pop() if len(given) == 1 else ""
