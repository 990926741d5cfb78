"""The views: typed also when empty, complete, and honest about NaN and inf."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from harness import resources
from harness.errors import InputError
from harness.leaderboard.entrants import read_scores
from harness.record import Measurement, NumberStatus, Status
from harness.results.ledger import read_record
from harness.results.query import VIEWS, connect
from harness.results.sandbox import run_sql
from harness.results.writer import commit, record_attempt
from tests.results.records import attempt, fill, measurement, record, with_measurements

NUMBERS = {
    ("p", "m", "test"): 1.0,
    ("p", "m", "uniform"): math.nan,
    ("p", "m", "box_100"): math.inf,
    ("p", "m", "gaussian"): -math.inf,
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    fill(tmp_path, "demo", [record(seed=s, numbers=NUMBERS) for s in range(3)])
    fill(tmp_path, "other", [record("glow", status=Status.DIVERGED)])
    record_attempt(tmp_path, "demo", attempt())
    return tmp_path


def _types(store: Path) -> dict[str, list[tuple[str, str]]]:
    connection = connect(store)
    found = {}
    for view in VIEWS:
        rows = connection.execute(f"describe {view}").fetchall()
        found[view] = [(row[0], row[1]) for row in rows]
    connection.close()
    return found


def test_views_are_the_same_with_and_without_files(store: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    (empty / "suite=demo").mkdir(parents=True)
    assert _types(empty) == _types(store)
    connection = connect(empty)
    for view in VIEWS:
        assert connection.execute(f"select count(*) from {view}").fetchall() == [(0,)]
    connection.close()


def test_every_view_names_its_suite_and_cell(store: Path) -> None:
    for columns in _types(store).values():
        assert [name for name, _ in columns[:2]] == ["suite", "cell_id"]


def test_measurements_and_curves_need_no_join(store: Path) -> None:
    wanted = {
        "cell_status", "task", "architecture", "architecture_label", "regularizer",
        "regularizer_label", "dataset", "dataset_label", "seed",
    }  # fmt: skip
    for view in ("measurements", "finite_measurements", "layers", "curves"):
        assert wanted <= {name for name, _ in _types(store)[view]}


def test_each_sql_file_is_a_view_and_explains_itself() -> None:
    files = sorted((resources.sql_folder() / "views").glob("*.sql"))
    assert [file.stem for file in files] == sorted(VIEWS)
    for file in files:
        text = file.read_text()
        assert text.startswith("--")
        assert re.findall(r"create view (\w+)", text) == [file.stem]


def test_nothing_is_lost_and_nothing_averaged_in(store: Path) -> None:
    connection = connect(store)
    rows = connection.execute(
        "select inputs, value, status, count(*) from measurements group by all order by inputs"
    ).fetchall()
    assert str(rows) == str(
        [
            ("box_100", math.inf, "inf", 3),
            ("gaussian", -math.inf, "inf", 3),
            ("test", 1.0, "finite", 3),
            ("uniform", math.nan, "nan", 3),
        ]
    )
    finite = "select inputs, avg(value), count(*) from finite_measurements group by all"
    assert connection.execute(finite).fetchall() == [("test", 1.0, 3)]
    connection.close()


def test_what_did_not_converge_is_not_called_finite(tmp_path: Path) -> None:
    number = Measurement("p", "m", "test", "float32", 2.0, 1, 0, NumberStatus.NOT_CONVERGED)
    fill(
        tmp_path, "demo", [with_measurements(record(), number, measurement("p", "n", "test", 3.0))]
    )
    connection = connect(tmp_path)
    assert connection.execute("select value from finite_measurements").fetchall() == [(3.0,)]
    assert connection.execute("select count(*) from measurements").fetchall() == [(2,)]
    connection.close()


def test_the_other_views(store: Path) -> None:
    connection = connect(store)
    cells = connection.execute("select suite, architecture, status, epoch_ms(finished) from cells")
    assert sorted(cells.fetchall())[-1] == ("other", "glow", "diverged", 1_700_000_000_000)
    layers = connection.execute("select layer, block, metric, value from layers where seed = 2")
    assert str(layers.fetchall()) == "[(3, 'ActNorm', 'error', nan)]"
    curve = connection.execute("select step, metric, value from curves where seed = 2").fetchall()
    assert str(curve) == "[(0, 'loss', 2.5), (10, 'loss', nan)]"
    tries = connection.execute("select suite, cell_id, attempt, status from attempts").fetchall()
    assert tries == [("demo", "a-1", 1, "error")]
    connection.close()


def test_cells_committed_later_are_seen(store: Path) -> None:
    connection = connect(store)
    commit(store, "third", record(seed=9))
    assert connection.execute("select count(*) from cells").fetchall() == [(5,)]
    connection.close()


@pytest.mark.parametrize("name", ["it's", "seed=7", "suite=x", "with space", "ünï,;~%20"])
def test_a_path_means_nothing_but_itself(tmp_path: Path, name: str) -> None:
    store = fill(tmp_path / name, "demo", [record(seed=1)])
    connection = connect(store)
    assert connection.execute("select suite, seed from cells").fetchall() == [("demo", 1)]
    connection.close()


@pytest.mark.parametrize("name", ["a[bc]", "a*", "a?", "{a,b}", "a\\b"])
def test_a_path_that_would_be_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    store = fill(tmp_path / name, "demo", [record(seed=1)])
    with pytest.raises(InputError, match="are not allowed"):
        connect(store)


def test_hidden_files_of_other_programs_are_not_read(tmp_path: Path) -> None:
    store = fill(tmp_path / "store", "demo", [record(seed=1)])
    (store / "suite=demo" / "cells" / "._x.parquet").write_text("left by a file browser")
    connection = connect(store)
    assert connection.execute("select count(*) from cells").fetchall() == [(1,)]
    connection.close()


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no store at .*missing.*innbench run SUITE"):
        connect(tmp_path / "missing")
    with pytest.raises(InputError, match=r"folder without results.*innbench run SUITE"):
        connect(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it is a file"):
        connect(tmp_path / "file")


def written_before(path: Path) -> None:
    """As the first version of the schema had it: without layers."""
    table = pq.read_table(path).drop_columns(["layers"])
    path.unlink()
    pq.write_table(table.replace_schema_metadata({b"innbench.schema": b"1"}), path)


def _sql(store: Path, _: str) -> None:
    run_sql(store, "select * from layers")


def _leaderboard(store: Path, _: str) -> None:
    read_scores(store, "demo", "select *, unnest(layers) from stored.cells")


def _record(store: Path, cell: str) -> None:
    read_record(store, "demo", cell)


@pytest.mark.parametrize("number", [0, 1], ids=["the first file", "a later one"])
@pytest.mark.parametrize("read", [_sql, _leaderboard, _record])
def test_a_file_of_an_older_version_is_named_with_what_to_do(
    tmp_path: Path, number: int, read: Callable[[Path, str], None]
) -> None:
    fill(tmp_path, "demo", [record(seed=1), record(seed=2)])
    path = sorted(tmp_path.rglob("*.parquet"))[number]
    written_before(path)
    said = f"{path} has schema version 1, and this innbench reads schema version 2; read the store"
    with pytest.raises(InputError, match=re.escape(said)):
        read(tmp_path, path.stem)


def test_nothing_is_fetched_from_the_network(store: Path) -> None:
    connection = connect(store)
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
        found = connection.execute("select current_setting($name)", {"name": setting}).fetchall()
        assert found == [(False,)]
    with pytest.raises(duckdb.Error, match="httpfs"):
        connection.execute("from 'https://localhost:9/x.parquet'")
    connection.close()
