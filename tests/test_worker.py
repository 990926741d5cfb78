"""What a worker makes of a pack."""

import json
from pathlib import Path

from harness import registry
from harness.record import Status
from harness.results import ledger
from harness.results.query import connect
from harness.suite.cell import Cell
from harness.suite.model import Training
from harness.worker import Outcome, run_pack

CELLS = [
    Cell(
        task=registry.resolve("task", "density"),
        architecture=registry.resolve("architecture", {"name": "additive", "couplings": 2}),
        regularizer=registry.resolve("regularizer", "none"),
        dataset=registry.resolve("dataset", {"name": "checkerboard", "size": 100}),
        probes=(registry.resolve("probe", {"name": "reconstruction", "points": 4}),),
        training=Training(steps=2, batch_size=4),
        seed=seed,
    )
    for seed in range(5)
]


def run(store: Path, cells: list[tuple[str, str]]) -> dict[str, Outcome]:
    outcomes = run_pack(cells, "one", str(store), "cpu", 1, 1)
    return {outcome.cell_id: outcome for outcome in outcomes}


def test_a_pack_with_a_cell_that_fails_loses_that_cell_alone(tmp_path: Path) -> None:
    cells = [(cell.id, cell.specification()) for cell in CELLS]
    bad = CELLS[3].id
    cells[3] = (bad, cells[3][1].replace('"identity":1', '"identity":99'))
    outcomes = run(tmp_path, cells)
    assert len(outcomes) == 5
    assert {key for key, one in outcomes.items() if one.status is Status.ERROR} == {bad}
    assert "identity version 99" in outcomes[bad].message
    assert ledger.committed(tmp_path, "one") == {cell.id for cell in CELLS} - {bad}
    (attempt,) = ledger.last_attempts(tmp_path, "one").values()
    assert (attempt.cell_id, attempt.status) == (bad, Status.ERROR)


def test_a_cell_whose_probe_fails_has_nothing_trained_again(tmp_path: Path) -> None:
    cells = [(cell.id, cell.specification()) for cell in CELLS]
    bad = CELLS[1].id
    cells[1] = (bad, cells[1][1].replace('"name":"reconstruction"', '"name":"no_such_probe"'))
    outcomes = run(tmp_path, cells)
    failures = {key: one.message for key, one in outcomes.items() if one.status is Status.ERROR}
    # The attempt is of the cell as it was specified, for its id is a hash of that.
    assert len(failures) == 1
    assert "no_such_probe" in next(iter(failures.values()))
    assert ledger.committed(tmp_path, "one") == {cell.id for cell in CELLS} - {bad}
    found = connect(tmp_path).execute("select provenance from cells").fetchall()
    assert [json.loads(text)["pack_members"] for (text,) in found] == [5] * 4


def test_a_later_try_of_a_pack_runs_only_what_is_missing(tmp_path: Path) -> None:
    cells = [(cell.id, cell.specification()) for cell in CELLS]
    run(tmp_path, cells[:2])
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert len(kept) == 2
    outcomes = run(tmp_path, cells)
    assert {one.status for one in outcomes.values()} == {Status.OK}
    assert [outcomes[cell.id].seconds == 0 for cell in CELLS] == [True, True, False, False, False]
    assert ledger.committed(tmp_path, "one") == {cell.id for cell in CELLS}
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
