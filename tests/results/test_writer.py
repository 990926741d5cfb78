"""Whole or not at all, the first commit wins, and no reader sees what is half written."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.record import Status
from harness.results.ledger import committed, last_attempts, read_record, sweep_leftovers
from harness.results.query import connect
from harness.results.writer import commit, record_attempt
from tests.results.records import attempt, record


def test_a_commit_is_one_file_of_that_name(tmp_path: Path) -> None:
    given = record()
    assert commit(tmp_path / "new", "demo", given)
    files = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
    assert files == [Path(f"new/suite=demo/cells/{given.cell_id}.parquet")]


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        commit(tmp_path, "demo", record())
    finally:
        os.umask(old)
    (file,) = tmp_path.rglob("*.parquet")
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_late_duplicate_changes_nothing(tmp_path: Path) -> None:
    given = record()
    assert commit(tmp_path, "demo", given)
    (file,) = tmp_path.rglob("*.parquet")
    before = file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino
    assert not commit(tmp_path, "demo", replace(given, train_seconds=99.0))
    assert (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino) == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_of_many_writers_at_once_exactly_one_wins(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    won: list[int] = []

    def write(number: int) -> None:
        start.wait()
        if commit(tmp_path, "demo", replace(record(), steps=number)):
            won.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert read_record(tmp_path, "demo", record().cell_id).steps == won[0]
    assert len(list((tmp_path / "suite=demo" / "cells").iterdir())) == 1


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    given = record()
    commit(tmp_path, "demo", given)
    # A final name that is too long for the file system, where the temporary one is not.
    with pytest.raises(InputError, match="file name too long"):
        commit(tmp_path, "demo", replace(given, cell_id="a" * 250))
    assert len(list((tmp_path / "suite=demo" / "cells").iterdir())) == 1


def test_a_store_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*not a directory"):
        commit(tmp_path / "store", "demo", record())


@pytest.mark.parametrize("status", [s for s in Status if s not in ("ok", "diverged")])
def test_an_attempt_is_no_result(tmp_path: Path, status: Status) -> None:
    with pytest.raises(ValueError, match="record_attempt"):
        commit(tmp_path, "demo", replace(record(), status=status))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a*", "a b", "-rf"])
def test_a_name_cannot_leave_the_store(tmp_path: Path, name: str) -> None:
    store = tmp_path / "store"
    for write in (
        lambda: commit(store, name, record()),
        lambda: commit(store, "demo", replace(record(), cell_id=name)),
        lambda: record_attempt(store, "demo", attempt(name)),
    ):
        with pytest.raises(InputError, match="cannot name a place"):
            write()
    assert list(tmp_path.iterdir()) == []


def test_no_reader_sees_a_half_written_file(tmp_path: Path) -> None:
    """What a writer leaves when it is killed between opening the file and linking it."""
    commit(tmp_path, "demo", record())
    record_attempt(tmp_path, "demo", attempt())
    for kind in ("cells", "attempts"):
        (tmp_path / "suite=demo" / kind / ".tmp-17-0123456789abcdef").write_bytes(b"PAR1 half")
    assert committed(tmp_path, "demo") == {record().cell_id}
    assert set(last_attempts(tmp_path, "demo")) == {"a-1"}
    connection = connect(tmp_path)
    assert connection.execute("select count(*) from cells").fetchall() == [(1,)]
    assert connection.execute("select count(*) from attempts").fetchall() == [(1,)]
    connection.close()


def test_temporary_names_are_those_that_are_swept(tmp_path: Path) -> None:
    """A reader of the folder, at the moment of the link, finds the temporary file hidden."""
    folder = tmp_path / "suite=demo" / "cells"
    folder.mkdir(parents=True)
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.update(path.name for path in folder.iterdir())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for seed in range(200):
        commit(tmp_path, "demo", record(seed=seed))
    done.set()
    watcher.join()
    temporary = {name for name in seen if not name.endswith(".parquet")}
    assert temporary
    assert all(name.startswith(".tmp-") for name in temporary)


def test_only_old_leftovers_are_swept(tmp_path: Path) -> None:
    commit(tmp_path, "demo", record())
    folder = tmp_path / "suite=demo" / "cells"
    old, young = folder / ".tmp-1-a", folder / ".tmp-2-b"
    old.write_bytes(b"")
    young.write_bytes(b"")
    os.utime(old, (0, 0))
    assert sweep_leftovers(tmp_path, "demo", older_than_seconds=3600) == 1
    assert sorted(p.name for p in folder.iterdir()) == [young.name, f"{record().cell_id}.parquet"]
    assert sweep_leftovers(tmp_path, "nothing-yet", older_than_seconds=0) == 0


def test_attempts_are_added_and_never_overwritten(tmp_path: Path) -> None:
    for _ in range(3):
        record_attempt(tmp_path, "demo", attempt(number=1))
    assert len(list((tmp_path / "suite=demo" / "attempts").iterdir())) == 3


def test_a_traceback_may_quote_what_was_never_text(tmp_path: Path) -> None:
    record_attempt(tmp_path, "demo", replace(attempt(), traceback="bad \udcff byte"))
    assert last_attempts(tmp_path, "demo")["a-1"].traceback == "bad ? byte"
