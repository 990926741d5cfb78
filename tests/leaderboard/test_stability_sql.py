"""The SQL of the leaderboard: each number of a cell, by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from harness import resources
from harness.record import Measurement, Status
from harness.results.sandbox import run_sql
from tests.results.records import Numbers, fill, measurement, record, with_measurements

TEXT = (resources.sql_folder() / "leaderboards" / "stability.sql").read_text()
ERROR, SHARE = ("reconstruction", "l2_median"), ("reconstruction", "non_finite_fraction")


def _rows(store: Path) -> list[dict[str, Any]]:
    """Through the sandbox: whoever reads the file can run it."""
    table = run_sql(store, TEXT)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _row(tmp_path: Path, numbers: Numbers, status: Status = Status.OK) -> dict[str, Any]:
    (row,) = _rows(fill(tmp_path, "demo", [record(numbers=numbers, status=status)]))
    return row


def test_a_geometric_mean_over_off_distribution_sets(tmp_path: Path) -> None:
    row = _row(
        tmp_path,
        {
            (*ERROR, "test"): 1e-5,
            (*ERROR, "uniform"): 1e-4,
            (*ERROR, "box_100"): 1e2,
            (*SHARE, "test"): 0.7,
            (*SHARE, "uniform"): 0.0,
            (*SHARE, "box_100"): 0.25,
            ("reconstruction", "l2_q90", "uniform"): 1e9,
            ("sampling", "blown_up_fraction", "temperature_1"): 0.9,
            ("sampling", "blown_up_fraction", "temperature_2"): 0.5,
        },
    )
    assert math.isclose(row["off_error"], 1e-1)
    assert (row["off_sets"], row["off_sets_none_finite"]) == (2, 0)
    assert row["test_error"] == 1e-5
    assert (row["non_finite"], row["worst_non_finite"], row["failed"]) == (0.125, 0.25, True)
    assert row["blown_up"] == 0.5


def test_zero_counts_as_the_spacing_of_float32(tmp_path: Path) -> None:
    row = _row(tmp_path, {(*ERROR, "a"): 0.0, (*ERROR, "b"): 2.0**-40, (*ERROR, "c"): 2.0**-23})
    assert math.isclose(row["off_error"], 2.0**-23)


def test_nan_and_inf_are_counted_and_not_averaged(tmp_path: Path) -> None:
    row = _row(tmp_path, {(*ERROR, "a"): 1e-3, (*ERROR, "b"): math.nan, (*ERROR, "c"): math.inf})
    assert math.isclose(row["off_error"], 1e-3)
    assert (row["off_sets"], row["off_sets_none_finite"]) == (3, 2)


def test_none_finite_is_nan_and_not_measured_is_null(tmp_path: Path) -> None:
    none = record("none_finite", numbers={(*ERROR, "a"): math.nan, (*SHARE, "a"): 1.0})
    rows = _rows(fill(tmp_path, "demo", [none, record("unmeasured")]))
    found = {row["architecture_label"]: row for row in rows}
    assert math.isnan(found["none_finite"]["off_error"])
    assert found["none_finite"]["failed"]
    assert found["unmeasured"]["off_error"] is None
    assert found["unmeasured"]["non_finite"] is None
    assert found["unmeasured"]["failed"] is False


def test_a_diverged_cell_failed_whatever_was_measured(tmp_path: Path) -> None:
    numbers = {(*ERROR, "a"): 1e-3, (*SHARE, "a"): 0.0}
    store = fill(
        tmp_path,
        "demo",
        [
            record("probed", numbers=numbers, status=Status.DIVERGED),
            record("unprobed", status=Status.DIVERGED),
        ],
    )
    probed, unprobed = sorted(_rows(store), key=lambda row: str(row["architecture_label"]))
    assert (probed["failed"], probed["non_finite"]) == (True, 0.0)
    assert (unprobed["failed"], unprobed["non_finite"]) == (True, 1.0)
    assert unprobed["worst_non_finite"] == 1.0


def test_only_float32_and_only_the_last_step(tmp_path: Path) -> None:
    base = record(numbers={(*ERROR, "a"): 1e-3})
    more = with_measurements(
        base,
        measurement(*ERROR, "a", 1e5, precision="float64"),
        measurement(*ERROR, "b", 1e5, precision="float64"),
        measurement(*ERROR, "a", 1e6, step=100),
        measurement(*SHARE, "a", 1.0, step=0),
        measurement(*SHARE, "a", 0.0, step=300),
        measurement(*ERROR, "of early steps alone", 1e6, step=100),
        measurement(*SHARE, "of early steps alone", 1.0, step=100),
    )
    (row,) = _rows(fill(tmp_path, "demo", [more]))
    assert math.isclose(row["off_error"], 1e-3)
    assert (row["off_sets"], row["failed"]) == (1, False)


def test_constants_of_early_steps_are_no_constants_of_the_network(tmp_path: Path) -> None:
    def at(step: int, forward: float, bound: float, *inputs: str) -> list[Measurement]:
        worst = [
            measurement("bi_lipschitz", metric, one, forward, "float64", step)
            for one in inputs
            for metric in ("forward_worst", "inverse_worst")
        ]
        bounds = [
            measurement("bi_lipschitz", metric, "none", bound, "float64", step)
            for metric in ("bound_forward", "bound_inverse")
        ]
        return worst + bounds

    cell = with_measurements(record(), *at(0, 1e9, 2.0, "a", "early"), *at(300, 3.0, 4.0, "a"))
    (row,) = _rows(fill(tmp_path, "demo", [cell]))
    assert (row["forward_measured"], row["forward_bound"]) == (3.0, 4.0)
    assert (row["inverse_measured"], row["inverse_bound"]) == (3.0, 4.0)
    assert (row["forward_violated"], row["inverse_violated"]) == (False, False)


def test_the_tasks_own_score(tmp_path: Path) -> None:
    task = {("task", "negative_log_likelihood", "test"): 2.5}
    bits = {("task", "bits_per_dim", "test"): 3.5, ("task", "bits_per_dim", "train"): 9.0}
    store = fill(
        tmp_path,
        "demo",
        [
            record("a", numbers=task),
            record("b", numbers={**bits, **task}),
            record("c"),
            record("d", numbers={("task", "cross_entropy", "test"): 0.5}),
            record("e", numbers={("task", "mean_squared_error", "test"): 1e-6}),
        ],
    )
    found = {r["architecture_label"]: (r["task_metric"], r["task_score"]) for r in _rows(store)}
    assert found == {
        "a": ("negative_log_likelihood", 2.5),
        "b": ("bits_per_dim", 3.5),
        "c": (None, None),
        "d": ("cross_entropy", 0.5),
        "e": ("mean_squared_error", 1e-6),
    }


def test_the_tasks_score_is_in_the_precision_of_the_training(tmp_path: Path) -> None:
    """A cell trained in float64 has its score in that alone; probes count in float32 alone."""
    trained = with_measurements(
        record(numbers={(*ERROR, "a"): 1e-3}),
        measurement(*ERROR, "a", 1e-9, precision="float64"),
        measurement("task", "negative_log_likelihood", "test", 9.0, precision="float64", step=0),
        measurement("task", "negative_log_likelihood", "test", 2.5, precision="float64"),
    )
    (row,) = _rows(fill(tmp_path, "demo", [trained]))
    assert (row["task_metric"], row["task_score"]) == ("negative_log_likelihood", 2.5)
    assert math.isclose(row["off_error"], 1e-3)


def test_the_same_cell_in_two_suites_stays_apart(tmp_path: Path) -> None:
    for suite, error in (("one", 1e-2), ("two", 1e-4)):
        fill(tmp_path, suite, [record(numbers={(*ERROR, "a"): error})])
    found = {row["suite"]: round(math.log10(row["off_error"])) for row in _rows(tmp_path)}
    assert found == {"one": -2, "two": -4}


def _constants(tmp_path: Path, numbers: dict[tuple[str, str], float]) -> dict[str, Any]:
    """Of a cell with these numbers of the probe of both Lipschitz constants, by metric and set."""
    found = [measurement("bi_lipschitz", *key, v, "float64") for key, v in numbers.items()]
    store = fill(tmp_path, "demo", [with_measurements(record(), *found)])
    (row,) = _rows(store)
    return row


def test_bounds_stand_beside_the_worst_of_all_inputs(tmp_path: Path) -> None:
    row = _constants(
        tmp_path,
        {
            ("forward_worst", "test"): 2.0,
            ("forward_worst", "box_100"): 3.0,
            ("forward_worst", "broken"): math.nan,
            ("forward_median", "test"): 9.0,
            ("inverse_worst", "test"): 5.0,
            ("inverse_worst", "box_100"): 4.0,
            ("unresolved_fraction", "test"): 0.0,
            ("unresolved_fraction", "broken"): math.nan,
            ("bound_forward", "none"): 3.0,
            ("bound_inverse", "none"): math.inf,
        },
    )
    assert row["inverse_unresolved"] is False
    assert (row["forward_measured"], row["forward_bound"]) == (3.0, 3.0)
    assert (row["inverse_measured"], row["inverse_bound"]) == (5.0, math.inf)
    assert (row["forward_violated"], row["inverse_violated"]) == (False, False)


def test_no_finite_jacobian_is_nan_and_not_measured_is_null(tmp_path: Path) -> None:
    lost = {("forward_worst", "test"): math.nan, ("inverse_worst", "test"): math.nan}
    promised = {("bound_forward", "none"): 1.0, ("bound_inverse", "none"): math.nan}
    row = _constants(tmp_path / "a", lost | promised)
    assert math.isnan(row["forward_measured"])
    assert math.isnan(row["inverse_measured"])
    assert math.isnan(row["inverse_bound"])
    assert (row["forward_violated"], row["inverse_violated"]) == (False, False)
    row = _constants(tmp_path / "b", {})
    assert row["forward_measured"] is None
    assert row["inverse_bound"] is None
    assert row["forward_violated"] is False
    assert row["inverse_unresolved"] is False


@pytest.mark.parametrize(
    ("forward", "inverse", "violated"),
    [
        (2 * (1 + 1e-10), 4 * (1 + 1e-10), (False, False)),  # rounding
        (2 * (1 + 1e-8), 3.0, (True, False)),
        (1.0, 4 * (1 + 1e-8), (False, True)),
        (1.0, math.inf, (False, True)),  # no rounding beside 1 makes 1/4 of 0
        (math.inf, 4.0, (True, False)),
    ],
)
def test_a_bound_below_what_was_measured_is_violated(
    tmp_path: Path, forward: float, inverse: float, violated: tuple[bool, bool]
) -> None:
    row = _constants(
        tmp_path,
        {
            ("forward_worst", "test"): 1.0,
            ("inverse_worst", "test"): 1.0,
            ("forward_worst", "box"): forward,
            ("inverse_worst", "box"): inverse,
            ("bound_forward", "none"): 2.0,
            ("bound_inverse", "none"): 4.0,
        },
    )
    assert (row["forward_violated"], row["inverse_violated"]) == violated


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_no_bound_is_not_violated(tmp_path: Path, bound: float) -> None:
    numbers = {("forward_worst", "test"): 1e9, ("inverse_worst", "test"): 1e9}
    promised = {("bound_forward", "none"): bound, ("bound_inverse", "none"): bound}
    row = _constants(tmp_path, numbers | promised)
    assert (row["forward_violated"], row["inverse_violated"]) == (False, False)


@pytest.mark.parametrize("inverse", [1e14, math.inf])
def test_a_least_singular_value_lost_in_rounding_contradicts_nothing(
    tmp_path: Path, inverse: float
) -> None:
    row = _constants(
        tmp_path,
        {
            ("forward_worst", "test"): 1e6,
            ("inverse_worst", "test"): inverse,
            ("unresolved_fraction", "test"): 0.125,
            ("unresolved_fraction", "uniform"): 0.0,
            ("bound_forward", "none"): 1e7,
            ("bound_inverse", "none"): 1e7,
        },
    )
    assert row["inverse_violated"] is False
    assert row["inverse_measured"] == inverse
    assert row["inverse_unresolved"] is True


@pytest.mark.parametrize(
    ("forward", "inverse", "bound", "unresolved", "violated"),
    [
        (1e6, 1e9, 1e7, 0.0, True),
        (1e3, 1e12, 1e10, 0.0, True),
        (1e6, 1e9, 1e7, 0.5, False),
        (1e6, 1e9, 1e7, math.nan, False),
        (1e6, 31e7, 1e7, 0.0, False),
    ],
)
def test_a_resolved_least_singular_value_violates_whatever_the_largest_is(
    tmp_path: Path, forward: float, inverse: float, bound: float, unresolved: float, violated: bool
) -> None:
    row = _constants(
        tmp_path,
        {
            ("forward_worst", "test"): forward,
            ("inverse_worst", "test"): inverse,
            ("unresolved_fraction", "test"): unresolved,
            ("bound_forward", "none"): 1e10,
            ("bound_inverse", "none"): bound,
        },
    )
    assert row["inverse_violated"] is violated
