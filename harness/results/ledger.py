"""What a store knows of its cells: which are committed, what they were, how others failed.

A suite that has no results yet is empty, not a mistake: that is how every suite begins.
"""

import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import InputError
from harness.record import (
    Attempt,
    CellRecord,
    CurvePoint,
    LayerMeasurement,
    Measurement,
    NumberStatus,
    Status,
)
from harness.results import layout
from harness.results.query import connect, unreadable
from harness.results.version import mismatch


def committed(store: Path, suite: str) -> set[str]:
    """Ids of the committed cells, by the names of their files alone.

    Raises:
        InputError: The store is a file.
    """
    return {path.name.removesuffix(layout.SUFFIX) for path in _files(store, suite, layout.CELLS)}


def is_committed(store: Path, suite: str, cell_id: str) -> bool:
    """Whether the store has the cell, seen from this machine."""
    return layout.cell_file(store, suite, cell_id).exists()


def specifications(store: Path, suite: str) -> dict[str, tuple[str, float, Status]]:
    """Of each committed cell: its specification as JSON, its seconds (training and probes), status.

    Raises:
        InputError: The store is a file, or holds a file that innbench did not write.
    """
    if not committed(store, suite):
        return {}
    connection = connect(store)
    try:
        rows = connection.execute(
            """
            select cell_id, specification, train_seconds + probe_seconds, status
            from stored.cells where suite = $suite
            """,
            {"suite": suite},
        ).fetchall()
    except duckdb.Error as error:
        raise unreadable(error, store) from error
    finally:
        connection.close()
    return {cell_id: (text, seconds, Status(status)) for cell_id, text, seconds, status in rows}


def last_attempts(store: Path, suite: str) -> dict[str, Attempt]:
    """Of each cell with failed attempts, committed later or not: the one that ended last.

    Raises:
        InputError: The store is a file, or holds a file that innbench did not write.
    """
    last: dict[str, Attempt] = {}
    for path in _files(store, suite, layout.ATTEMPTS):
        row = _row(path)
        attempt = Attempt(**{**row, "status": Status(row["status"])})
        known = last.get(attempt.cell_id)
        if known is None or _when(known) < _when(attempt):
            last[attempt.cell_id] = attempt
    return last


def read_record(store: Path, suite: str, cell_id: str) -> CellRecord:
    """A committed cell as it was given to :func:`harness.results.writer.commit`.

    Raises:
        InputError: The cell is not committed, or its file is not innbench's.
    """
    path = layout.cell_file(store, suite, cell_id)
    if not path.is_file():
        raise InputError(f"the cell {cell_id!r} of suite {suite!r} is not in the store {store}")
    row = _row(path)
    row["status"] = Status(row["status"])
    for column, kind in (("measurements", Measurement), ("layers", LayerMeasurement)):
        found = ({**one, "status": NumberStatus(one["status"])} for one in row[column])
        row[column] = tuple(kind(**one) for one in found)
    row["curve"] = tuple(CurvePoint(**point) for point in row["curve"])
    return CellRecord(**row)


def sweep_leftovers(store: Path, suite: str, older_than_seconds: float) -> int:
    """Remove what writers that died left half-written; how many files that were.

    No reader sees these files. A young one may belong to a writer that lives.
    """
    swept = 0
    now = time.time()
    for folder in (layout.cells_folder(store, suite), layout.attempts_folder(store, suite)):
        for path in folder.glob(f"{layout.TEMPORARY}*"):
            try:
                if now - path.stat().st_mtime > older_than_seconds:
                    path.unlink()
                    swept += 1
            except FileNotFoundError:  # its writer was done with it first
                continue
    return swept


def _when(attempt: Attempt) -> tuple[int, int]:
    return attempt.finished_ms, attempt.attempt


def _files(store: Path, suite: str, kind: str) -> list[Path]:
    if store.exists() and not store.is_dir():
        raise InputError(f"{store} is a file; a store is a folder")
    return sorted((layout.suite_folder(store, suite) / kind).glob(f"[!.]*{layout.SUFFIX}"))


def _row(path: Path) -> dict[str, Any]:
    """The only row of a file; missing or newer columns are a sentence and not a KeyError."""
    try:
        with pq.ParquetFile(path) as file:
            written_by_another = mismatch(path, file.metadata)
            if written_by_another is not None:
                raise InputError(written_by_another)
            rows: list[dict[str, Any]] = file.read(use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        advice = "a foreign or damaged file: move it away"
        raise InputError(f"{path} cannot be read: {reason}; {advice}") from error
    return rows[0]
