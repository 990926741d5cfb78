"""Ranking: who is before whom, what is left out, and what is said about it."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from harness.errors import InputError
from harness.leaderboard.board import leaderboard
from harness.leaderboard.entrants import PlannedCell
from harness.leaderboard.rows import Board, Row
from harness.leaderboard.statistics import COVERAGE
from harness.record import CellRecord, Status
from tests.results.records import fill, record


def cell(
    architecture: str,
    dataset: str = "digits",
    seed: int = 0,
    error: float | None = 1e-3,
    share: float = 0.0,
    **more: object,
) -> CellRecord:
    """A cell with one off-distribution set: its error, and the share that was not finite."""
    numbers = {} if error is None else {
        ("reconstruction", "l2_median", "uniform"): error,
        ("reconstruction", "l2_median", "test"): 1e-6,
        ("reconstruction", "non_finite_fraction", "uniform"): share,
        ("task", "bits_per_dim", "test"): float(more.pop("score", 3.0)),  # type: ignore[arg-type]
        ("sampling", "blown_up_fraction", "temperature_2"): share / 2,
    }  # fmt: skip
    return record(architecture, dataset=dataset, seed=seed, numbers=numbers, **more)  # type: ignore[arg-type]


def plan(cells: Iterable[CellRecord]) -> list[PlannedCell]:
    """The cells as a suite plans them, before any has run."""
    return [PlannedCell(*(getattr(cell, key) for key in PlannedCell._fields)) for cell in cells]


def board(
    store: Path, cells: Iterable[CellRecord], planned: Iterable[CellRecord] | None = None
) -> Board:
    """The board of the cells done; those planned include them."""
    wanted = None if planned is None else plan(planned)
    return leaderboard(fill(store, "demo", cells), "demo", wanted)


def names(found: Board) -> list[str]:
    return [row.entrant.architecture for row in found.rows]


def only(found: Board) -> Row:
    (row,) = found.rows
    return row


def said(found: Board, words: str) -> bool:
    return any(words in note for note in found.footnotes)


def test_smaller_errors_come_first(tmp_path: Path) -> None:
    errors = {"c": 1e-6, "a": 1e-2, "b": 1e-4}
    found = board(tmp_path, [cell(n, error=e) for n, e in errors.items()])
    assert names(found) == ["c", "b", "a"]
    assert [row.rank.value for row in found.rows] == [1.0, 2.0, 3.0]


def test_a_cell_that_diverged_ranks_behind_one_that_trained(tmp_path: Path) -> None:
    """Untrained weights invert well: that is no merit."""
    cells = [cell("diverged", error=1e-7, status=Status.DIVERGED), cell("trained", error=1e-2)]
    found = board(tmp_path, cells)
    assert names(found) == ["trained", "diverged"]
    row = found.rows[1]
    assert (row.failed, row.non_finite) == (1, 0.0)  # what was measured is shown as it was


def test_a_test_input_that_does_not_come_back_is_a_failure(tmp_path: Path) -> None:
    numbers = {
        ("reconstruction", "l2_median", "uniform"): 1e-6,
        ("reconstruction", "non_finite_fraction", "uniform"): 0.0,
        ("reconstruction", "non_finite_fraction", "test"): 0.01,
    }
    found = board(tmp_path, [record("a", dataset="digits", seed=0, numbers=numbers)])
    assert only(found).failed == 1
    assert only(found).non_finite == 0.0


def test_what_does_not_come_back_weighs_more_than_an_error(tmp_path: Path) -> None:
    found = board(tmp_path, [cell("brittle", error=1e-7, share=0.01), cell("rough", error=1e3)])
    assert names(found) == ["rough", "brittle"]


def test_equal_entrants_share_their_rank(tmp_path: Path) -> None:
    found = board(tmp_path, [cell("a"), cell("b"), cell("c", error=1.0)])
    assert [row.rank.value for row in found.rows] == [1.5, 1.5, 3.0]


def test_seeds_are_averaged_before_datasets(tmp_path: Path) -> None:
    """Nine seeds on one dataset weigh no more than one on another."""
    cells = [cell("a", "easy", seed, 1e-6) for seed in range(9)] + [cell("a", "hard", 0, 1e-2)]
    assert only(board(tmp_path, cells)).off_error.value == pytest.approx(1e-4)


def test_the_error_is_the_geometric_interquartile_mean(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    logs = generator.normal(-3, 1, size=(9, 3))  # datasets × seeds
    cells = [cell("a", f"d{d}", s, error=10 ** logs[d, s]) for d in range(9) for s in range(3)]
    row = only(board(tmp_path, cells))
    oracle = scipy.stats.trim_mean(logs.mean(axis=1), 0.25)
    assert math.log10(row.off_error.value) == pytest.approx(oracle)
    assert row.off_error.low < row.off_error.value < row.off_error.high


def test_the_interval_is_a_stratified_bootstrap(tmp_path: Path) -> None:
    """Against a plain loop: seeds are drawn within each dataset."""
    generator = np.random.default_rng(0)
    logs = generator.normal([[-6], [-4], [-2], [0], [2]], 0.5, size=(5, 6))
    cells = [cell("a", f"d{d}", s, error=10 ** logs[d, s]) for d in range(5) for s in range(6)]
    found = only(board(tmp_path, cells)).off_error
    draws = [
        scipy.stats.trim_mean([generator.choice(row, size=6).mean() for row in logs], 0.25)
        for _ in range(4000)
    ]
    oracle = np.percentile(draws, [2.5, 97.5])
    np.testing.assert_allclose(np.log10([found.low, found.high]), oracle, atol=0.05)


def test_the_interval_of_the_rank_covers_the_seeds(tmp_path: Path) -> None:
    cells = [cell("near", seed=s, error=e) for s, e in enumerate([1e-3, 1e-1, 1e-3, 1e-1])]
    cells += [cell("by", seed=s, error=e) for s, e in enumerate([2e-3, 2e-1, 2e-3, 2e-1])]
    cells += [cell("far", seed=s, error=1e6) for s in range(4)]
    by_name = {row.entrant.architecture: row.rank for row in board(tmp_path, cells).rows}
    assert (by_name["near"].low, by_name["near"].high) == (1.0, 2.0)
    assert (by_name["far"].low, by_name["far"].high) == (3.0, 3.0)


def test_the_interval_of_a_rank_is_of_that_rank(tmp_path: Path) -> None:
    """Resampled ranks weigh what does not come back, and what is not done, as the rank does."""
    cells = [cell("rough", seed=s, error=1e3) for s in range(3)]
    cells += [cell("brittle", seed=s, error=1e-7, share=0.5) for s in range(3)]
    cells += [cell("late", seed=s, error=1e-7) for s in range(2)]
    found = board(tmp_path, cells)
    assert names(found) == ["rough", "brittle", "late"]
    assert [(r.rank.low, r.rank.value, r.rank.high) for r in found.rows] == [
        (1.0, 1.0, 1.0),
        (2.0, 2.0, 2.0),
        (3.0, 3.0, 3.0),
    ]


def test_a_board_is_the_same_each_time(tmp_path: Path) -> None:
    cells = [cell("a", seed=s, error=10.0**-s) for s in range(5)] + [cell("b", seed=0)]
    first = board(tmp_path / "1", cells)
    second = board(tmp_path / "2", reversed(cells))
    assert repr(first.rows) == repr(second.rows)
    assert first.bootstrap_seed == 0
    assert said(first, "generator seed 0")


def test_nan_is_left_out_of_the_error_and_said(tmp_path: Path) -> None:
    cells = [cell("a", seed=0, error=1e-3), cell("a", seed=1, error=math.nan, share=1.0)]
    found = board(tmp_path, cells)
    row = only(found)
    assert row.off_error.value == pytest.approx(1e-3)
    assert row.left_out == 1
    assert row.non_finite == 0.5
    assert row.worst_non_finite == 1.0
    assert said(found, "† NaN and inf are left out")


def test_nothing_finite_ranks_last_and_has_no_number(tmp_path: Path) -> None:
    dead = [cell("dead", seed=s, error=math.nan, share=1.0) for s in range(2)]
    half = [cell("half", seed=s, error=1e9, share=0.5) for s in range(2)]
    found = board(tmp_path, dead + half)
    assert names(found) == ["half", "dead"]
    row = found.rows[1]
    assert row.measured
    assert math.isnan(row.off_error.value)
    assert math.isnan(row.off_error.low)
    assert row.failed == 2
    assert row.failure_rate.value == 1.0


def test_all_entrants_failed_is_still_a_board(tmp_path: Path) -> None:
    cells = [cell(n, error=math.inf, share=1.0) for n in ("a", "b")]
    found = board(tmp_path, cells)
    assert [row.rank.value for row in found.rows] == [1.5, 1.5]
    assert all(math.isnan(row.off_error.value) for row in found.rows)


def test_a_diverged_cell_without_numbers_is_worst(tmp_path: Path) -> None:
    cells = [cell("a", error=None, status=Status.DIVERGED), cell("b", error=1e9, share=0.9)]
    found = board(tmp_path, cells)
    assert names(found) == ["b", "a"]
    assert found.rows[1].non_finite == 1.0
    assert not said(found, "not measured:")


def test_the_failure_rate_has_wilsons_interval(tmp_path: Path) -> None:
    cells = [cell("a", seed=s, share=0.1 if s < 3 else 0.0) for s in range(10)]
    row = only(board(tmp_path, cells))
    oracle = scipy.stats.binomtest(3, 10).proportion_ci(method="wilson")
    assert row.failed == 3
    assert row.failure_rate.value == pytest.approx(0.3)
    assert (row.failure_rate.low, row.failure_rate.high) == pytest.approx((oracle.low, oracle.high))


def test_an_incomplete_entrant_is_ranked_after_the_complete(tmp_path: Path) -> None:
    cells = [cell("done", seed=s, error=1.0, share=0.5) for s in range(2)]
    cells += [cell("half", seed=0, error=1e-7)]
    found = board(tmp_path, cells, [*cells, cell("half", seed=1)])
    assert names(found) == ["done", "half"]
    assert [(r.complete, r.done, r.planned) for r in found.rows] == [(True, 2, 2), (False, 1, 2)]
    assert found.rows[0].rank.value == 1.0
    assert said(found, "* not all planned cells are done")


def test_an_unfinished_run_does_not_move_who_is_done(tmp_path: Path) -> None:
    cells = [cell("a", "x", error=1e-3), cell("a", "y", error=1e-3)]
    cells += [cell("b", "x", error=1e-2), cell("b", "y", error=1e-2)]
    planned = [cell(n, d) for n in "abc" for d in "xy"]
    before = board(tmp_path / "1", cells, planned)
    after = board(tmp_path / "2", [*cells, cell("c", "x", error=1e-7)], planned)
    assert repr(after.rows[:2]) == repr(before.rows[:2])


def test_what_was_planned_and_not_run_is_shown(tmp_path: Path) -> None:
    found = board(tmp_path, [cell("a")], [cell("a"), cell("ghost")])
    ghost = found.rows[1]
    assert ghost.entrant.architecture == "ghost"
    assert (ghost.done, ghost.planned, ghost.complete) == (0, 1, False)
    assert math.isnan(ghost.rank.value)


def test_nothing_run_yet_but_planned(tmp_path: Path) -> None:
    (tmp_path / "suite=demo" / "attempts").mkdir(parents=True)
    found = leaderboard(tmp_path, "demo", plan(cell("a", seed=s) for s in range(3)))
    assert (only(found).done, only(found).planned) == (0, 3)
    with pytest.raises(InputError, match="no cell of suite 'demo' is done"):
        leaderboard(tmp_path, "demo")


def test_without_a_plan_the_most_done_is_taken_for_it(tmp_path: Path) -> None:
    cells = [cell("a", d, s) for d in "xy" for s in range(2)] + [cell("b", "x", 0, 1e-9)]
    found = board(tmp_path, cells)
    assert [(r.entrant.architecture, r.done, r.planned) for r in found.rows] == [
        ("a", 4, 4),
        ("b", 1, 4),
    ]
    assert said(found, "planned is not known")
    assert not found.rows[1].complete


def test_only_the_planned_cells_count(tmp_path: Path) -> None:
    """A cell of older training settings neither counts nor makes an entrant."""
    kept, stale = cell("a", error=1e-3), cell("a", error=1e3, training={"steps": 9})
    found = board(tmp_path, [kept, stale], [kept])
    row = only(found)
    assert row.off_error.value == pytest.approx(1e-3)
    assert (row.done, row.planned, row.entrant.settings) == (1, 1, "")
    assert said(found, "1 cell in the store that the suite no longer plans")


def test_nothing_planned_is_nothing_to_rank(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cell of suite 'demo' is done"):
        board(tmp_path, [cell("a")], [])


def steps(n: int, seeds: Iterable[int], error: float = 1e-3) -> list[CellRecord]:
    return [cell("a", seed=s, error=error, training={"steps": n}) for s in seeds]


def test_settings_that_differ_alike_are_entrants_of_their_own(tmp_path: Path) -> None:
    found = board(tmp_path, steps(300, range(2), 1e-2) + steps(1000, range(2), 1e-4))
    assert [row.entrant.settings for row in found.rows] == [
        "training.steps=1000",
        "training.steps=300",
    ]
    assert [(row.done, row.planned) for row in found.rows] == [(2, 2), (2, 2)]


def test_entrants_of_the_same_labels_have_their_own_plan(tmp_path: Path) -> None:
    cells = steps(300, range(3), 1e-4) + steps(1000, [0], 1e-2)
    found = board(tmp_path, cells, cells)
    assert [(r.entrant.settings, r.done, r.planned, r.complete) for r in found.rows] == [
        ("training.steps=300", 3, 3, True),
        ("training.steps=1000", 1, 1, True),
    ]
    assert [(d.done, d.planned) for d in found.details] == [(3, 3), (1, 1)]


@pytest.mark.parametrize(
    ("seeds_300", "seeds_1000"), [([0], [1]), ([0, 1], []), ([], [0]), ([], [])]
)
def test_a_half_done_sweep_has_the_entrants_of_a_done_one(
    tmp_path: Path, seeds_300: list[int], seeds_1000: list[int]
) -> None:
    """No two cells done are alike but for the steps; what is planned tells them apart."""
    (tmp_path / "suite=demo" / "attempts").mkdir(parents=True)
    done = steps(300, seeds_300) + steps(1000, seeds_1000)
    found = board(tmp_path, done, steps(300, range(2)) + steps(1000, range(2)))
    assert {(r.entrant.settings, r.done, r.planned) for r in found.rows} == {
        ("training.steps=300", len(seeds_300), 2),
        ("training.steps=1000", len(seeds_1000), 2),
    }


def test_a_planned_cell_goes_by_the_labels_of_the_plan(tmp_path: Path) -> None:
    """A label shows what differs from the defaults, and these may have changed since."""
    (planned,) = plan([cell("a")])
    today = planned._replace(architecture_label="a(depth=4)", dataset_label="digits(pad=0)")
    found = leaderboard(fill(tmp_path, "demo", [cell("a")]), "demo", [today])
    row = only(found)
    assert (row.entrant.architecture, row.done, row.planned) == ("a(depth=4)", 1, 1)
    assert [(d.dataset, d.done, d.planned) for d in found.details] == [("digits(pad=0)", 1, 1)]


def test_a_setting_that_goes_with_the_dataset_splits_nobody(tmp_path: Path) -> None:
    cells = [cell("a", "toy", training={"steps": 300}), cell("a", "image", training={"steps": 900})]
    row = only(board(tmp_path, cells))
    assert row.entrant.settings == ""
    assert (row.done, row.planned) == (2, 2)


def test_regularizers_are_entrants(tmp_path: Path) -> None:
    cells = [
        record("a", regularizer, numbers={("reconstruction", "l2_median", "uniform"): error})
        for regularizer, error in (("none", 1.0), ("log_scale(weight=1)", 1e-3))
    ]
    found = board(tmp_path, cells)
    assert [row.entrant.regularizer for row in found.rows] == ["log_scale(weight=1)", "none"]


def test_one_seed_has_no_interval_and_that_is_said(tmp_path: Path) -> None:
    found = board(tmp_path, [cell("a"), cell("b", error=1.0)])
    for row in found.rows:
        assert math.isnan(row.off_error.low)
        assert math.isnan(row.rank.low)
        assert not math.isnan(row.failure_rate.low)
    assert said(found, "one seed on a dataset")
    two = board(tmp_path / "2", [cell(n, seed=s) for n in "ab" for s in range(2)])
    assert not said(two, "one seed on a dataset")


@pytest.mark.parametrize(("datasets", "seeds"), [(1, 2), (1, 7), (2, 2), (2, 3), (3, 5)])
def test_with_few_seeds_the_coverage_of_an_interval_is_said(
    tmp_path: Path, datasets: int, seeds: int
) -> None:
    cells = [cell("few", f"d{d}", s) for d in range(datasets) for s in range(seeds)]
    cells += [cell("many", f"d{d}", s) for d in range(datasets) for s in range(9)]
    found = board(tmp_path, cells)
    simulated = "one dataset" if datasets == 1 else "two datasets"
    share = COVERAGE[min(datasets, 2)][seeds]
    assert said(found, f"simulations of {simulated} with {seeds} seeds each")
    assert said(found, f"only {share} % of those called 95 % held the true error")


@pytest.mark.parametrize("seeds", [1, 8])
def test_no_coverage_is_said_of_enough_seeds_or_of_no_interval(tmp_path: Path, seeds: int) -> None:
    found = board(tmp_path, [cell("a", seed=s) for s in range(seeds)])
    assert not said(found, "too narrow")


def test_draws_without_anything_finite_are_left_out_and_said(tmp_path: Path) -> None:
    """Half of the seeds have no error: one draw in four of two seeds is of these alone."""
    half = [cell("half", seed=0, error=1e-3), cell("half", seed=1, error=math.nan, share=1.0)]
    found = board(tmp_path / "half", half)
    estimate = only(found).off_error
    assert (estimate.low, estimate.high) == pytest.approx((1e-3, 1e-3))
    assert said(found, "a draw of seeds that held nothing finite")
    lost = [cell("lost", seed=s, error=math.nan, share=1.0) for s in range(2)]
    assert not said(board(tmp_path / "lost", lost), "a draw of seeds")
    fine = [cell("fine", seed=s) for s in range(2)]
    assert not said(board(tmp_path / "fine", fine), "a draw of seeds")


@pytest.mark.parametrize(("n", "p"), [(1, "= 1."), (3, "= 0.25."), (5, "= 0.0625."), (6, None)])
def test_too_few_datasets_for_significance_is_said(tmp_path: Path, n: int, p: str | None) -> None:
    found = board(tmp_path, [cell(a, f"d{d}", s) for a in "ab" for d in range(n) for s in (0, 1)])
    assert said(found, "can be significant") == (p is not None)
    assert p is None or said(found, p)
    assert said(found, "fewer than 4 datasets") == (n < 4)


def test_no_reconstruction_probe_is_said(tmp_path: Path) -> None:
    found = board(tmp_path, [cell("a", error=None)])
    assert not only(found).measured
    assert said(found, "not measured:")


def test_the_tasks_score_and_those_not_finite(tmp_path: Path) -> None:
    scores = {("x", 0): 2.0, ("x", 1): 4.0, ("y", 0): 9.0, ("y", 1): math.inf}
    cells = [cell("a", d, s, score=v) for (d, s), v in scores.items()]
    row = only(board(tmp_path, cells))
    assert row.task_metric == "bits_per_dim"
    assert row.task_score == 6.0  # (3 + 9) / 2
    assert row.task_not_finite == 1


def test_details_are_by_dataset(tmp_path: Path) -> None:
    cells = [cell("a", "x", s, 10.0 ** -(2 * s + 2), share=0.2 * s) for s in range(2)]
    cells += [cell("b", "x", error=1e-9)]
    found = board(tmp_path, cells, cells)
    a = next(d for d in found.details if d.entrant.architecture == "a")
    assert (a.dataset, a.done, a.planned, a.rank, a.failed) == ("x", 2, 2, 2.0, 1)
    assert a.off_error == pytest.approx(1e-3)
    assert a.non_finite == pytest.approx(0.1)


def test_a_suite_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    fill(tmp_path, "demo", [cell("a")])
    with pytest.raises(InputError, match="has no suite 'demi'; allowed: demo; did you mean 'demo'"):
        leaderboard(tmp_path, "demi")
    with pytest.raises(InputError, match="there is no store at"):
        leaderboard(tmp_path / "missing", "demo")


def test_other_suites_do_not_count(tmp_path: Path) -> None:
    fill(tmp_path, "other", [cell("stranger", error=1e-9)])
    assert names(board(tmp_path, [cell("a")])) == ["a"]
