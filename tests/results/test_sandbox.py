"""SQL from anyone: what it may do, and every way out of it that we could think of."""

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from harness.errors import InputError
from harness.results.query import VIEWS
from harness.results.sandbox import REFUSED_FUNCTIONS, TABLE_FUNCTIONS, run_sql
from harness.results.writer import record_attempt
from tests.results.records import attempt, fill, record

SECRET = "secret_of_this_machine"  # also the name of a Python variable that a scan could find


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a link that leads out of it, and a secret beside it."""
    store = tmp_path / "store"
    fill(store, "demo", [record(seed=s, numbers={("p", "m", "test"): float(s)}) for s in range(3)])
    record_attempt(store, "demo", attempt())
    (tmp_path / "secret.csv").write_text(f"a\n{SECRET}\n")
    (store / "link.csv").symlink_to(tmp_path / "secret.csv")
    (store / "inside.csv").write_text(f"a\n{SECRET}\n")
    return store


def _everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time of change."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


# What is tried; {store} is the store, {out} the folder around it.
ATTACKS = [
    # Writing
    "copy cells to '{store}/x.csv'",
    "copy cells to '{out}/x.csv'",
    "copy (select 1) to '{store}/suite=demo/cells/x.parquet'",
    "with x as (copy (select 1) to '{store}/x.csv') from x",
    "with x as (copy (select 1) to '{out}/x.csv') from x",
    "with x as materialized (copy cells to '{store}/x.parquet') select count(*) from x",
    "select * from (with x as (copy (select 1) to '{store}/x.csv') from x)",
    "select (with x as (copy (select 1 a) to '{store}/x.csv') select count(*) from x)",
    "select 1 union all (with x as (copy (select 1 a) to '{store}/x.csv') select 2 from x)",
    "explain analyze with x as (copy (select 1) to '{store}/x.csv') from x",
    "explain analyze copy cells to '{store}/x.csv'",
    "EXPLAIN ANALYZE/**/copy cells to '{store}/x.csv'",
    "explain (analyze, format json) copy cells to '{store}/x.csv'",
    "describe copy cells to '{store}/x.csv'",
    "summarize (with x as (copy (select 1) to '{store}/x.csv') from x)",
    "with x as (insert into cells values (1) returning *) from x",
    "with x as (delete from cells) from x",
    "with x as (update cells set seed = 1) from x",
    "export database '{store}/dump'",
    "export database '{out}/dump'",
    "import database '{store}'",
    "create table t as select 1",
    "create temp table t as select 1",
    "create view v as select 1",
    "create macro m() as 1",
    "create type t as enum ('a')",
    "create secret (type http, bearer_token 'x')",
    "insert into cells select * from cells",
    "update cells set seed = 1",
    "delete from cells",
    "truncate cells",
    "drop view cells",
    "alter view cells rename to c",
    "comment on view cells is 'x'",
    "vacuum",
    "checkpoint",
    "begin",
    # Reading elsewhere
    "from read_csv('{out}/secret.csv')",
    "from read_text('{out}/secret.csv')",
    "from read_blob('/etc/passwd')",
    "from read_text('{store}/../secret.csv')",
    "from read_text('{store}/suite=demo/../../secret.csv')",
    "from read_text('{store}/link.csv')",
    "from read_text('{store}/inside.csv')",
    "from read_json('{out}/*')",
    "from read_duckdb('{out}/secret.csv')",
    "from READ_CSV('{out}/secret.csv')",
    "from system.main.read_text('{out}/secret.csv')",
    "from \"read_text\"('{out}/secret.csv')",
    "from sniff_csv('{out}/secret.csv')",
    "from glob('/etc/*')",
    "from glob('{store}/*')",
    "from '{out}/secret.csv'",
    'from "{out}/secret.csv"',
    "from '{store}/inside.csv'",
    "from '{store}/suite=demo/cells/*.parquet'",
    "from read_parquet('{store}/suite=demo/cells/*.parquet')",
    "from parquet_metadata('{store}/suite=demo/cells/*.parquet')",
    "select (select content from read_text('{out}/secret.csv'))",
    "select * from cells where exists (from read_text('{out}/secret.csv'))",
    "select * from cells order by (select max(content) from read_text('{out}/secret.csv'))",
    "select * from cells limit (select length(max(content)) from read_text('{out}/secret.csv'))",
    "select count(*) filter (exists (from read_text('{out}/secret.csv'))) from cells",
    "from cells, lateral (from read_text('{out}/secret.csv'))",
    "from cells join '{out}/secret.csv' on true",
    "describe '{out}/secret.csv'",
    "describe (from '{out}/secret.csv')",
    "summarize '{out}/secret.csv'",
    "table '{out}/secret.csv'",
    "pivot '{out}/secret.csv' on a in ('x') using count(*)",
    "unpivot '{out}/secret.csv' on a",
    "with \"{out}/secret.csv\" as (select 1) select * from '{out}/secret.csv'",
    "select * from (with \"{store}/inside.csv\" as (select 1) select 1), '{store}/inside.csv'",
    "with recursive t as (from read_text('{out}/secret.csv') union all from t) from t",
    "select list(x) from (values ((select content from read_text('{out}/secret.csv')))) v(x)",
    "from query('from read_text(''{out}/secret.csv'')')",
    "from query_table('{out}/secret.csv')",
    "from query_table(['cells'])",
    "from histogram('{out}/secret.csv', a)",
    "from histogram_values('{out}/secret.csv', a)",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "from 'https://localhost:9/x.parquet'",
    "from read_text('http://localhost:9/x')",
    "from 's3://bucket/x.parquet'",
    # Python
    "from SECRET",
    "from os",
    "from python_map_function()",
    "from arrow_scan(1, 2, 3)",
    "from pandas_scan(1)",
    # Settings, extensions, other databases
    "attach '{out}/x.duckdb'",
    "attach ':memory:' as other",
    "attach '{store}/x.duckdb' as other",
    "detach memory",
    "use stored",
    "install httpfs",
    "force install httpfs",
    "load httpfs",
    "load '{store}/x.duckdb_extension'",
    "update extensions",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "set temp_directory = '{out}'",
    "set threads = 1",
    "set variable x = 1",
    "reset all",
    "pragma enable_profiling",
    "pragma version",
    "pragma profile_output = '{out}/profile'",
    "call enable_logging(storage = 'file', storage_path = '{store}')",
    "call enable_profiling()",
    "from enable_logging(storage = 'file', storage_path = '{out}/log')",
    "from enable_profiling()",
    "from disable_logging()",
    "from truncate_duckdb_logs()",
    "from checkpoint()",
    "from force_checkpoint()",
    "from create_external_resource('x')",
    "from which_secret('s3://x', 's3')",
    "from duckdb_settings()",
    "from duckdb_secrets()",
    "from duckdb_views()",
    "from duckdb_views",
    "from pragma_database_list",
    "from pg_settings",
    "select * from (with pg_settings as (select 1) select 1), pg_settings",
    "from information_schema.tables",
    "from stored.cells",
    "from memory.stored.cells",
    "show databases",
    "show all tables",
    "show memory_limit",
    "select getenv('PATH')",
    "select current_setting('secret_directory')",
    "select CURRENT_SETTING('secret_directory')",
    "select system.main.current_setting('secret_directory')",
    "select 'secret_directory'.current_setting()",
    "select list_transform(['home_directory'], lambda x: current_setting(x))",
    "select \"CURRENT_SETTING\"('secret_directory')",
    "select getvariable('x')",
    "select write_log('x')",
    "select nextval('x')",
    "select sleep_ms(1)",
    # Several, prepared
    "select 1; copy cells to '{store}/x.csv'",
    "select 1; select 2",
    "select 1;; drop view cells",
    "prepare p as copy cells to '{store}/x.csv'",
    "execute p",
    "deallocate p",
    "select $x",
    "select ?",
    "",
    "-- nothing",
    ";",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_in_a_sentence(
    store: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = store.parent / "here"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = _everything(store.parent)
    with pytest.raises(InputError) as refused:
        run_sql(store, attack.format(store=store, out=store.parent))
    said = str(refused.value)
    assert said
    assert "Traceback" not in said
    assert SECRET not in said
    assert _everything(store.parent) == before


@pytest.mark.parametrize(
    "attack",
    [
        "copy cells to 'x'",
        "with x as (copy (select 1) to 'x') from x",
        "from read_text('x')",
        "set threads = 1",
        "select getenv('HOME')",
        "from 'x.csv'",
        "select 1; select 2",
    ],
)
def test_a_refusal_says_what_is_allowed(store: Path, attack: str) -> None:
    with pytest.raises(InputError, match="SQL here may read the views cells, measurements"):
        run_sql(store, attack)


def test_the_second_wall_stands_alone(store: Path) -> None:
    """DuckDB itself refuses to leave the store, should the first wall have a hole."""
    from harness.results import sandbox  # noqa: PLC0415 - the wall itself
    from harness.results.query import connect  # noqa: PLC0415

    visible = pa.table({"a": [1]})  # what a scan of Python variables would find
    before = _everything(store.parent)
    for attack in (
        "copy cells to '{out}/x.csv'",
        "with x as (copy (select 1) to '{out}/x.csv') from x",
        "from read_text('{out}/secret.csv')",
        "from read_text('{store}/../secret.csv')",
        "from read_blob('/etc/passwd')",
        "from glob('/etc/*')",
        "export database '{out}/dump'",
        "attach '{out}/x.duckdb'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "reset allowed_directories",
        "set allowed_directories = ['/']",
        "from 'https://localhost:9/x.parquet'",
        "from visible",
        "from enable_logging(storage = 'file', storage_path = '{out}/log')",
    ):
        connection = connect(store)
        sandbox._confine(connection, store)
        with pytest.raises(duckdb.Error):
            connection.execute(attack.format(store=store, out=store.parent))
        connection.close()
    assert _everything(store.parent) == before
    assert visible.num_rows == 1


def test_the_lists_are_about_duckdb_as_it_is() -> None:
    """A new DuckDB may bring functions that reach out: look at each, then add it here."""
    connection = duckdb.connect()
    rows = connection.execute(
        """
        select distinct function_name from duckdb_functions()
        where function_type in ('scalar', 'aggregate', 'macro') and regexp_matches(function_name,
            'read|write|file|env|exec|query|copy|http|load|secret|setting|glob|sleep|import'
            '|export|attach|variable|resource|nextval|setval|system|shell')
        """
    ).fetchall()
    connection.close()
    harmless = {
        "__internal_json_copy_to_geojson",  # JSON text of a value
        "__internal_json_copy_to_json",
        "current_query",  # the text of this query
        "current_query_id",
        "json_copy_strftime_if_date",
        "json_copy_strftime_if_timestamp",
        "parse_filename",  # text to text
        "pg_conf_load_time",  # the time
    }
    assert {row[0] for row in rows} - harmless <= REFUSED_FUNCTIONS
    assert not any("read" in name or "query" in name for name in TABLE_FUNCTIONS)


QUERIES = [
    ("select count(*) from cells", [(3,)]),
    ("SELECT COUNT(*) FROM Cells;", [(3,)]),
    ("from main.cells select count(*)", [(3,)]),
    ("table cells limit 0", []),
    ("values (1), (2)", [(1,), (2,)]),
    ("with c as (from cells), d as (from c) select count(*) from d", [(3,)]),
    ("with C as (from cells) select count(*) from c", [(3,)]),
    ("with cells as (select 1 as a) select a from cells", [(1,)]),
    ("with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) "
     "select sum(n) from t", [(15,)]),
    ("select seed from cells order by seed desc nulls last limit 1 offset 1", [(1,)]),
    ("select sum(value) from measurements join cells using (suite, cell_id)", [(3.0,)]),
    ("select seed, row_number() over (order by seed) from cells qualify seed = 2", [(2, 3)]),
    ("select dataset, count(*) from cells group by all having count(*) > 1", [("digits", 3)]),
    ("select count(*) from cells where seed in (select seed from cells where seed > 0)", [(2,)]),
    ("select specification->>'$.training.steps' from cells limit 1", [("300",)]),
    ("select count(*) from cells, range(2)", [(6,)]),
    ("select unnest([1, 2])", [(1,), (2,)]),
    ("select list_transform([1], lambda x: x + 1)", [([2],)]),
    ("select count(*) from (pivot cells on seed in (0, 1) using count(*) group by suite)", [(1,)]),
    ("select 1 union select 1 except select 2", [(1,)]),
    ("select case when true then cast('1' as decimal(4, 1)) end = 1", [(True,)]),
    ("select seed from cells asof join (select 1 as seed) using (seed) where seed = 1", [(1,)]),
    ("select median(value) from finite_measurements", [(1.0,)]),
    ("select count(*) from cells using sample 100 percent (bernoulli)", [(3,)]),
    ("select name from (show tables) order by name limit 1", [("attempts",)]),
    ("select column_name from (describe cells) limit 1", [("suite",)]),
    ("select count(*) > 5 from (summarize cells)", [(True,)]),
    ("select 'drop view cells; copy cells to ''x'''", [("drop view cells; copy cells to 'x'",)]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "rows"), QUERIES)
def test_honest_queries_run(store: Path, sql: str, rows: list[tuple[object, ...]]) -> None:
    assert list(run_sql(store, sql).rows) == rows


def test_explaining_is_allowed(store: Path) -> None:
    for sql in ("explain select * from cells", "EXPLAIN  ANALYZE select 1", "describe cells"):
        assert run_sql(store, sql).rows


def test_a_table_has_names_types_and_rows(store: Path) -> None:
    table = run_sql(store, "select 1::bigint as a, 'nan'::double as b, null as c where true")
    assert table.columns == ("a", "b", "c")
    assert table.types[:2] == ("BIGINT", "DOUBLE")
    assert str(table.rows) == "((1, nan, None),)"


def test_a_store_by_a_relative_path_or_a_link(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store.parent / "alias").symlink_to(store)
    monkeypatch.chdir(store.parent)
    for path in (Path("store"), Path("alias"), Path("store/../store")):
        assert run_sql(path, "select count(*) from cells").rows == ((3,),)


MISTAKES = [
    ("select archi from cells", r'Referenced column "archi" not found.*\n.*"architecture"'),
    ("select * from cell", "no view 'cell'; allowed: attempts, .*; did you mean 'cells'"),
    ("selec 1", r'^SQL: syntax error at or near "selec"\nLINE 1: selec 1\n        \^'),
    ("select seed + 'a' from cells", "^SQL: .*Could not convert string 'a'"),
    ("select now()", "cast it to TIMESTAMP"),
    ("select interval '100000000 years'", "too large to be shown here.*cast it to VARCHAR"),
    ("select '\udcff'", "write it in UTF-8"),
    ("pivot cells on seed", "PIVOT … ON column IN"),
    ("select " + "1+" * 5000 + "1", "depth limit|nested too deeply"),
    ("with \"a b\" as (select 1) from \"a b\"", "WITH cannot name a query 'a b'"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "sentence"), MISTAKES)
def test_mistakes_are_told_in_duckdbs_useful_lines(store: Path, sql: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as told:
        run_sql(store, sql)
    assert "Error:" not in str(told.value)
    assert "\n\n" not in str(told.value)


def test_a_damaged_file_is_named(store: Path) -> None:
    (store / "suite=demo" / "cells" / "zzz.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"zzz\.parquet.*move a foreign or damaged one away"):
        run_sql(store, "select count(*) from cells")


def test_nothing_in_the_store_changes_by_reading(store: Path) -> None:
    before = _everything(store)
    for view in VIEWS:
        run_sql(store, f"select * from {view}")
    assert _everything(store) == before
    assert os.listdir(store.parent).count(".tmp") == 0  # noqa: PTH208
