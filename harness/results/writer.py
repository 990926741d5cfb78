"""Whole or not at all: how results get into a store.

A file is written under a hidden temporary name, brought to disk, and then linked to its final
name. A link fails where the name is taken, so the first commit of a cell wins and a late
duplicate changes nothing. After a crash there is the whole file or none; after a power loss, too:
the folder itself is not brought to disk, so that the newest commits may be missing and run again,
but none is torn.
"""

import contextlib
import os
import secrets
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import InputError
from harness.record import Attempt, CellRecord, Status
from harness.results import layout
from harness.results.schema import REPEATING, attempt_table, cell_table

_RESULTS = (Status.OK, Status.DIVERGED)


def commit(store: Path, suite: str, record: CellRecord) -> bool:
    """Commit a cell; ``False`` where it was committed before, and then nothing changes.

    Raises:
        ValueError: The record's status is that of an attempt, not of a result.
        InputError: The store cannot be written, or its file system has no hard links.
    """
    if record.status not in _RESULTS:
        message = f"a cell that ended as {record.status} is an attempt; use record_attempt"
        raise ValueError(message)
    return _publish(layout.cell_file(store, suite, record.cell_id), cell_table(record))


def record_attempt(store: Path, suite: str, attempt: Attempt) -> None:
    """Add a failed attempt beside the cells; none is ever overwritten.

    Raises:
        InputError: The store cannot be written, or its file system has no hard links.
    """
    cell_id = layout.checked_name("cell", attempt.cell_id)
    name = f"{cell_id}.{attempt.attempt}-{secrets.token_hex(8)}{layout.SUFFIX}"
    _publish(layout.attempts_folder(store, suite) / name, attempt_table(attempt))


def require_writable(store: Path, suite: str) -> None:
    """Find out before a sweep, not after its first cell, that nothing can be written.

    Raises:
        InputError: The store cannot be written.
    """
    folder = layout.cells_folder(store, suite)
    probe = folder / f"{layout.TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot write into {folder}: {reason}") from error
    finally:
        probe.unlink(missing_ok=True) if probe.parent.is_dir() else None


def _publish(final: Path, table: pa.Table) -> bool:
    temporary = final.with_name(f"{layout.TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        try:
            _write(temporary, _encoded(table))
        except FileNotFoundError:  # first result of a suite: cheaper to fail once than to ask
            final.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, _encoded(table))
        try:
            os.link(temporary, final)
        except FileExistsError:
            return False
    except OSError as error:
        reason = error.strerror or str(error)
        sentence = f"cannot write {final}: {reason.lower()}; a store needs room, the right to write"
        raise InputError(f"{sentence}, and a file system with hard links") from error
    finally:
        with contextlib.suppress(OSError):  # what is wrong has been said; a leftover is hidden
            temporary.unlink()
    return True


def _encoded(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    # Small files: statistics and the Arrow schema would triple a footer that every query reads,
    # zstd costs twice the time of snappy here and saves nothing, and a dictionary pays only where
    # one column repeats itself within the file.
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="snappy",
        use_dictionary=list(REPEATING) if "measurements" in table.column_names else False,
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(table.schema.metadata)
    return sink.getvalue()


def _write(path: Path, content: pa.Buffer) -> None:
    # Not tempfile: its files are private, and a store is often shared by a group.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
