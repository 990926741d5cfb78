"""What a store knows of its cells."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.errors import InputError
from harness.record import Status
from harness.results.ledger import committed, last_attempts, read_record, specifications
from harness.results.writer import record_attempt
from tests.results.records import attempt, fill, record


def test_a_suite_without_results_is_empty(tmp_path: Path) -> None:
    for store in (tmp_path, tmp_path / "missing"):
        assert committed(store, "demo") == set()
        assert specifications(store, "demo") == {}
        assert last_attempts(store, "demo") == {}


def test_a_store_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("")
    for ask in (committed, specifications, last_attempts):
        with pytest.raises(InputError, match="is a file; a store is a folder"):
            ask(file, "demo")


def test_specifications_of_one_suite(tmp_path: Path) -> None:
    mine = [record(seed=1), record(seed=2, status=Status.DIVERGED)]
    fill(tmp_path, "demo", mine)
    fill(tmp_path, "other", [record(seed=3)])
    assert specifications(tmp_path, "demo") == {
        r.cell_id: (r.specification, 1.75, r.status) for r in mine
    }
    assert committed(tmp_path, "demo") == {r.cell_id for r in mine}


def test_suites_whose_names_are_alike_are_kept_apart(tmp_path: Path) -> None:
    fill(tmp_path, "demo", [record(seed=1)])
    fill(tmp_path, "demo.2", [record(seed=2)])
    assert set(specifications(tmp_path, "demo")) == {record(seed=1).cell_id}


def test_the_last_attempt_is_the_one_that_ended_last(tmp_path: Path) -> None:
    # A resumed run counts from 1 again.
    for number, finished in ((1, 1000), (2, 2000), (1, 3000)):
        record_attempt(tmp_path, "demo", attempt("a-1", number, finished))
    record_attempt(tmp_path, "demo", attempt("b-1", 1, 500))
    last = last_attempts(tmp_path, "demo")
    assert last["a-1"] == attempt("a-1", 1, 3000)
    assert set(last) == {"a-1", "b-1"}


def test_a_record_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    fill(tmp_path, "demo", [record()])
    with pytest.raises(InputError, match="'nobody' of suite 'demo' is not in the store"):
        read_record(tmp_path, "demo", "nobody")


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "demo", [record()])
    (tmp_path / "suite=demo" / "cells" / "foreign.parquet").write_text("not Parquet")
    with pytest.raises(InputError, match=r"foreign\.parquet.*move a foreign or damaged one away"):
        specifications(tmp_path, "demo")
    with pytest.raises(InputError, match=r"foreign\.parquet cannot be read"):
        read_record(tmp_path, "demo", "foreign")


def test_a_file_of_another_schema_version_is_named(tmp_path: Path) -> None:
    given = record()
    fill(tmp_path, "demo", [given])
    file = tmp_path / "suite=demo" / "cells" / f"{given.cell_id}.parquet"
    table = pq.read_table(file)
    file.unlink()
    pq.write_table(table.replace_schema_metadata({"innbench.schema": "99"}), file)
    with pytest.raises(InputError, match=r"has schema version 99, .* reads schema version 2;"):
        read_record(tmp_path, "demo", given.cell_id)
