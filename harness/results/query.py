"""A store as DuckDB sees it: six views over its Parquet files, and nothing written.

The views' SQL stands in ``analysis/sql/views``; it builds on ``stored.cells`` and
``stored.attempts``, which are made here: the files as they are, and the suite out of their path.
"""

from pathlib import Path

import duckdb
import pyarrow as pa

from harness import resources
from harness.errors import InputError
from harness.results import layout
from harness.results.schema import ATTEMPT, CELL
from harness.results.version import first_mismatch

# In an order in which each may build on those before it.
VIEWS = ("cells", "measurements", "finite_measurements", "layers", "curves", "attempts")

# An extension is never needed; looking for one costs seconds where there is no network.
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def connect(store: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views of a store; cells committed later are seen at once.

    The connection is the caller's: it can read other files, attach databases, make tables. For
    SQL that comes from elsewhere, use :func:`harness.results.sandbox.run_sql`.

    Raises:
        InputError: There is no store, or one of its files is not what a store holds.
    """
    folder = layout.require_store(store)
    connection = duckdb.connect(config=_CONFIGURATION)
    try:
        connection.execute("create schema stored")
        _stored(connection, folder, layout.CELLS, CELL)
        _stored(connection, folder, layout.ATTEMPTS, ATTEMPT)
        for view in VIEWS:
            connection.execute((resources.sql_folder() / "views" / f"{view}.sql").read_text())
    except duckdb.Error as error:
        connection.close()
        raise unreadable(error, folder) from error
    return connection


def unreadable(error: duckdb.Error, store: Path) -> InputError:
    """What to say when a file of a store cannot be read."""
    written_by_another = first_mismatch(store)
    if written_by_another is not None:
        return InputError(f"the store cannot be read: {written_by_another}")
    first = str(error).split("\n")[0].split(": ", 1)[-1]
    advice = "every file of a store is written by innbench; move a foreign or damaged one away"
    return InputError(f"the store cannot be read: {first}; {advice}")


def _stored(
    connection: duckdb.DuckDBPyConnection, folder: Path, kind: str, schema: pa.Schema
) -> None:
    """Make ``stored.<kind>``: the columns of the schema, and ``suite``."""
    if next(folder.glob(f"suite=*/{kind}/[!.]*{layout.SUFFIX}"), None) is None:
        connection.register("nothing_yet", schema.empty_table())
        connection.execute(
            f"create table stored.{kind} as select *, ''::varchar as suite from nothing_yet"  # noqa: S608
        )
        connection.unregister("nothing_yet")
        return
    # The suite is read from the path and not by hive partitioning: that would take every
    # name=value folder above the store for a column, and such a column would win over ours.
    pattern = f"{folder}/suite=*/{kind}/[!.]*{layout.SUFFIX}"
    connection.execute(
        f"""
        create view stored.{kind} as
        select * exclude (filename),
            regexp_extract(filename, 'suite=([^/]+)/{kind}/[^/]+$', 1) as suite
        from read_parquet({_quoted(pattern)}, filename = true, hive_partitioning = false)
        """  # noqa: S608 - the pattern is quoted, the kind is a constant
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
