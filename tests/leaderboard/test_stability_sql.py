"""The SQL of the leaderboard: each number of a cell, by hand."""

import math
from pathlib import Path
from typing import Any

from harness import resources
from harness.record import Status
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
    )
    (row,) = _rows(fill(tmp_path, "demo", [more]))
    assert math.isclose(row["off_error"], 1e-3)
    assert (row["off_sets"], row["failed"]) == (1, False)


def test_the_tasks_own_score(tmp_path: Path) -> None:
    task = {("task", "negative_log_likelihood", "test"): 2.5}
    bits = {("task", "bits_per_dim", "test"): 3.5, ("task", "bits_per_dim", "train"): 9.0}
    store = fill(
        tmp_path,
        "demo",
        [record("a", numbers=task), record("b", numbers={**bits, **task}), record("c")],
    )
    found = {r["architecture_label"]: (r["task_metric"], r["task_score"]) for r in _rows(store)}
    assert found == {
        "a": ("negative_log_likelihood", 2.5),
        "b": ("bits_per_dim", 3.5),
        "c": (None, None),
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
