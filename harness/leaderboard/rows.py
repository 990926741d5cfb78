"""What a leaderboard consists of: plain values."""

import math
from dataclasses import dataclass

from harness.leaderboard.entrants import Entrant


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Constant:
    """A Lipschitz constant over some cells: what was measured, and what the weights promise.

    Attributes:
        measured: The largest at any input of any cell; NaN where no Jacobian was finite.
        bound: The largest of any cell; inf where one has none, NaN where one is NaN.
        closest: The largest share of its bound that a cell was measured to reach; NaN where none
            can be told.
        violated: How many cells were measured above their bound, by more than rounding.
        unresolved: In how many cells a σ_min was lost in float64's rounding beside σ_max.
    """

    measured: float
    bound: float
    closest: float
    violated: int
    unresolved: int


@dataclass(frozen=True)
class Row:
    """One entrant.

    Attributes:
        entrant: Who.
        complete: Whether all planned cells are done; others are ranked after those that are.
        done: Cells done.
        planned: Cells planned.
        rank: Mean over datasets of the rank by (non-finite share, off-distribution error).
        off_error: Geometric interquartile mean over datasets of the off-distribution error, L2;
            NaN where nothing was finite or nothing measured.
        measured: Whether any off-distribution error was measured.
        left_out: Numbers not finite that ``off_error`` and ``test_error`` leave out.
        test_error: The same mean of the error on the test set.
        non_finite: Mean share of off-distribution inputs that did not come back as numbers.
        worst_non_finite: That of the worst input set of the worst cell.
        failed: Cells that failed: diverged, or anything off distribution not finite.
        failure_rate: Their share of the cells done, with Wilson's interval.
        blown_up: Mean share of samples at temperature 2 that blew up.
        task_metric: Name of the task's score, or empty where datasets have different ones.
        task_score: Its mean over datasets, of finite scores.
        task_not_finite: How many cells have a score that is not finite.
        forward: The network's Lipschitz constant, σ_max; ``None`` where it was not measured.
        inverse: That of its inverse, 1/σ_min; likewise.
    """

    entrant: Entrant
    complete: bool
    done: int
    planned: int
    rank: Estimate
    off_error: Estimate
    measured: bool
    left_out: int
    test_error: float
    non_finite: float
    worst_non_finite: float
    failed: int
    failure_rate: Estimate
    blown_up: float
    task_metric: str
    task_score: float
    task_not_finite: int
    forward: Constant | None
    inverse: Constant | None


@dataclass(frozen=True)
class Detail:
    """One entrant on one dataset, averaged over seeds; the fields are those of :class:`Row`."""

    entrant: Entrant
    dataset: str
    done: int
    planned: int
    rank: float
    off_error: float
    test_error: float
    non_finite: float
    failed: int
    blown_up: float
    task_metric: str
    task_score: float
    forward: Constant | None
    inverse: Constant | None


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    Attributes:
        suite: Whose.
        rows: Best first, and all complete entrants before the others.
        details: Row by row, dataset by dataset.
        footnotes: What a reader must know to read it right.
        sql: The SQL that gave the cells.
        bootstrap_seed: Seed of the resampling.
        draws: How often was resampled.
    """

    suite: str
    rows: tuple[Row, ...]
    details: tuple[Detail, ...]
    footnotes: tuple[str, ...]
    sql: str
    bootstrap_seed: int
    draws: int
