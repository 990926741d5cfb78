"""What a worker makes of a pack."""

import json
import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from harness import registry
from harness.measuring.networks import Networks
from harness.memory import device as device_memory
from harness.memory.device import FRACTION, Memory
from harness.memory.member import member_bytes
from harness.record import Status
from harness.results import ledger
from harness.results.query import connect
from harness.suite.cell import Cell
from harness.suite.model import Training
from harness.worker import Conditions, Outcome, run_pack

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


def run(
    store: Path, cells: list[tuple[str, str]], share: float = 1.0, attempt: int = 1
) -> dict[str, Outcome]:
    outcomes = run_pack(cells, "one", str(store), Conditions(share=share), attempt)
    return {outcome.cell_id: outcome for outcome in outcomes}


def trained_at_once(store: Path) -> list[int]:
    """Of each cell in the order of seeds."""
    found = connect(store).execute("select provenance from cells order by seed").fetchall()
    return [json.loads(text)["pack_members"] for (text,) in found]


def test_a_pack_with_a_cell_that_fails_loses_that_cell_alone(tmp_path: Path) -> None:
    cells = [(cell.id, cell.specification()) for cell in CELLS]
    bad = CELLS[3].id
    cells[3] = (bad, cells[3][1].replace('"identity":1', '"identity":99'))
    outcomes = run(tmp_path, cells)
    assert len(outcomes) == 5
    assert {key for key, one in outcomes.items() if one.status is Status.ERROR} == {bad}
    assert "identity version 99" in outcomes[bad].message
    others = [one.halved for key, one in outcomes.items() if key != bad]
    assert all("identity version 99" in halved for halved in others)
    rows = connect(tmp_path).execute("select provenance from cells").fetchall()
    assert all("identity version 99" in json.loads(text)["pack_halved"] for (text,) in rows)
    assert ledger.committed(tmp_path, "one") == {cell.id for cell in CELLS} - {bad}
    (attempt,) = ledger.last_attempts(tmp_path, "one").values()
    assert (attempt.cell_id, attempt.status) == (bad, Status.ERROR)


def test_float32_is_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        run(tmp_path, [(CELLS[0].id, CELLS[0].specification())])
    finally:
        torch.set_float32_matmul_precision(before)
    ((text,),) = connect(tmp_path).execute("select provenance from cells").fetchall()
    origin = json.loads(text)
    assert (origin["float32_matmul_precision"], origin["cudnn_allow_tf32"]) == ("highest", False)
    assert origin["threads"] == 1
    assert origin["pack_halved"] == ""


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
    assert trained_at_once(tmp_path) == [5] * 4


def with_probe(
    monkeypatch: pytest.MonkeyPatch, name: str, **parameters: str
) -> list[tuple[str, str]]:
    """The cells, measured by a probe of a stranger's."""
    monkeypatch.setitem(registry.BUILT_IN["probe"], name, f"tests.probes.faulty:{name}")
    probe = registry.resolve("probe", {"name": name, **parameters})
    cells = [cell.model_copy(update={"probes": (probe,)}) for cell in CELLS]
    return [(cell.id, cell.specification()) for cell in cells]


def test_a_probe_that_raises_for_one_cell_fails_that_cell_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = with_probe(monkeypatch, "fails_once")
    outcomes = run(tmp_path, cells)
    failures = {key: one.message for key, one in outcomes.items() if one.status is Status.ERROR}
    assert failures == {cells[2][0]: "ArithmeticError: the third of five"}
    assert ledger.committed(tmp_path, "one") == {key for key, _ in cells} - failures.keys()
    (attempt,) = ledger.last_attempts(tmp_path, "one").values()
    assert attempt.cell_id == cells[2][0]
    assert "_third_of_all" in attempt.traceback
    assert trained_at_once(tmp_path) == [5] * 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("not_async", "the probe 'not_async' is no async function"),
        ("waits_for_something_else", "awaits its subject's answers alone"),
    ],
)
def test_a_probe_that_breaks_the_rules_is_an_attempt_of_each_cell(
    name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = with_probe(monkeypatch, name)
    outcomes = run(tmp_path, cells)
    assert all(sentence in one.message for one in outcomes.values())
    assert len(ledger.last_attempts(tmp_path, "one")) == len(outcomes) == 5


def test_an_error_of_the_harness_while_it_measures_is_an_attempt_of_each_cell_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: Networks, number: int) -> None:
        if number == 2:
            raise ArithmeticError("of the harness")

    monkeypatch.setattr(Networks, "forget", breaks)
    cells = [(cell.id, cell.specification()) for cell in CELLS]
    outcomes = run_pack(cells, "one", str(tmp_path), Conditions(), 1)
    assert [one.cell_id for one in outcomes] == [key for key, _ in cells]
    assert [one.status for one in outcomes] == [Status.OK] * 2 + [Status.ERROR] * 3
    assert ledger.committed(tmp_path, "one") == {key for key, _ in cells[:2]}
    assert ledger.last_attempts(tmp_path, "one").keys() == {key for key, _ in cells[2:]}


def test_what_ended_before_a_process_dies_in_a_probe_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = with_probe(monkeypatch, "dies", store=str(tmp_path))
    process = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path, cells))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert ledger.committed(tmp_path, "one") == {key for key, _ in cells[:2]}


def test_probe_seconds_are_each_cells_own(
    tmp_path: Path,
) -> None:
    cells = [(cell.id, cell.specification()) for cell in CELLS]
    begun = time.perf_counter()
    outcomes = run(tmp_path, cells)
    taken = time.perf_counter() - begun
    query = "select cell_id, train_seconds + probe_seconds from cells"
    stored = dict(connect(tmp_path).execute(query).fetchall())
    assert {key: one.seconds for key, one in outcomes.items()} == pytest.approx(stored)
    assert 0 < sum(stored.values()) < taken


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


def test_a_try_after_everything_was_committed_has_nothing_to_do(tmp_path: Path) -> None:
    cells = [(cell.id, cell.specification()) for cell in CELLS]
    run(tmp_path, cells)
    again = run(tmp_path, cells, attempt=2)
    assert {one.status for one in again.values()} == {Status.OK}
    assert len(again) == len(CELLS)


@pytest.mark.parametrize(
    ("total", "available", "share", "sizes"),
    [
        (100, 100, 1.0, [5, 5, 5, 5, 5]),
        (100, 2.5, 1.0, [2, 2, 1, 2, 2]),  # others use the rest
        (10, 10, 0.35, [2, 2, 3, 3, 3]),  # others will use the rest
        (0.5, 0.5, 1.0, [1, 1, 1, 1, 1]),  # it is tried all the same
    ],
)
def test_a_pack_is_trained_in_parts_that_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    total: float,
    available: float,
    share: float,
    sizes: list[int],
) -> None:
    """Memory in members, once the fraction that they may have of it is taken."""
    member = member_bytes(CELLS[0])
    assert member is not None
    memory = Memory(*(int(size * member / FRACTION) + 1 for size in (total, available)))
    monkeypatch.setattr(device_memory, "host_memory", lambda: memory)
    outcomes = run(tmp_path, [(cell.id, cell.specification()) for cell in CELLS], share)
    assert {one.status for one in outcomes.values()} == {Status.OK}
    assert ledger.committed(tmp_path, "one") == {cell.id for cell in CELLS}
    assert trained_at_once(tmp_path) == sizes


@pytest.mark.parametrize(
    ("attempt", "sizes"), [(1, [5, 5, 5, 5, 5]), (2, [2, 2, 3, 3, 3]), (3, [2, 2, 1, 2, 2])]
)
def test_after_a_death_a_pack_is_tried_in_smaller_parts(
    tmp_path: Path, attempt: int, sizes: list[int]
) -> None:
    run(tmp_path, [(cell.id, cell.specification()) for cell in CELLS], attempt=attempt)
    assert trained_at_once(tmp_path) == sizes
    rows = connect(tmp_path).execute("select provenance from cells").fetchall()
    reasons = {json.loads(text)["pack_halved"] for (text,) in rows}
    assert reasons == {f"the worker died in try {attempt - 1}" if attempt > 1 else ""}
