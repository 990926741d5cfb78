"""Memory that runs out for real: a process with a limit of its address space."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from harness import registry
from harness.memory.out_of_memory import is_out_of_memory
from harness.record import Status
from harness.results import ledger
from harness.results.query import connect
from harness.suite.cell import Cell
from harness.suite.model import Training
from tests.cells import run_alone


def cell(seed: int, batch_size: int = 20_000) -> Cell:
    """A cell whose member takes some 40 MB, beside which the rest of a process is small."""
    return Cell(
        task=registry.resolve("task", "density"),
        architecture=registry.resolve("architecture", {"name": "additive", "couplings": 2}),
        regularizer=registry.resolve("regularizer", "none"),
        dataset=registry.resolve("dataset", {"name": "checkerboard", "size": 100}),
        probes=(registry.resolve("probe", {"name": "reconstruction", "points": 4}),),
        training=Training(steps=2, batch_size=batch_size, precision="float64"),
        seed=seed,
    )


CELLS = [cell(seed) for seed in range(8)]


def starved(store: Path, room: float, *packs: Sequence[Cell]) -> dict[str, tuple[str, str]]:
    """Status and message of each cell, in a process with room for so many members."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.starved", str(store), str(room)],
        input=json.dumps([[(one.id, one.specification()) for one in pack] for pack in packs]),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    ids = [one.id for pack in packs for one in pack]
    assert [cell_id for cell_id, *_ in outcomes] == ids  # each once
    return {cell_id: (status, message) for cell_id, status, message in outcomes}


def trained_at_once(store: Path) -> list[int]:
    query = "select provenance from cells where suite = 'starved'"
    rows = connect(store).execute(query).fetchall()
    return [json.loads(text)["pack_members"] for (text,) in rows]


def numbers(store: Path, one: Cell) -> dict[tuple[str, str], float]:
    query = "select metric, inputs, value from measurements where suite = 'starved' and cell_id = ?"
    rows = connect(store).execute(query, [one.id]).fetchall()
    return {(metric, inputs): value for metric, inputs, value in rows}


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux alone")
class TestStarved:
    def test_with_room_for_all_the_pack_is_trained_at_once(self, tmp_path: Path) -> None:
        """What the others are held against: nothing but the limit makes them fail."""
        outcomes = starved(tmp_path, 0, CELLS)
        assert {status for status, _ in outcomes.values()} == {Status.OK}
        assert trained_at_once(tmp_path) == [8] * 8

    def test_a_pack_that_does_not_fit_is_halved_until_it_does(self, tmp_path: Path) -> None:
        outcomes = starved(tmp_path, 5, CELLS)
        assert {status for status, _ in outcomes.values()} == {Status.OK}
        assert ledger.committed(tmp_path, "starved") == {one.id for one in CELLS}
        assert ledger.last_attempts(tmp_path, "starved") == {}
        sizes = trained_at_once(tmp_path)
        assert len(sizes) == 8
        assert 1 < max(sizes) <= 4
        for one in CELLS:
            likelihood = "negative_log_likelihood", "test"
            alone = {(m.metric, m.inputs): m.value for m in run_alone(one).measurements}
            found = numbers(tmp_path, one)
            assert found.keys() == alone.keys()
            assert found[likelihood] == pytest.approx(alone[likelihood], rel=1e-9)

    def test_a_cell_that_never_fits_is_out_of_memory_and_others_go_on(self, tmp_path: Path) -> None:
        large = [cell(seed, batch_size=4_000_000) for seed in (0, 1)]
        outcomes = starved(tmp_path, 5, large, CELLS[:2])
        assert [status for status, _ in outcomes.values()] == [
            *[Status.OUT_OF_MEMORY] * 2,
            *[Status.OK] * 2,
        ]
        assert all("can't allocate memory" in outcomes[one.id][1] for one in large)
        assert ledger.committed(tmp_path, "starved") == {one.id for one in CELLS[:2]}
        attempts = ledger.last_attempts(tmp_path, "starved")
        assert {key: one.status for key, one in attempts.items()} == {
            one.id: Status.OUT_OF_MEMORY for one in large
        }


def test_errors_that_say_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as on_host:
        torch.empty(2**60, dtype=torch.uint8)  # more than any address space
    assert is_out_of_memory(on_host.value)
    wrapped = ValueError("in a plug-in")
    wrapped.__cause__ = on_host.value
    assert is_out_of_memory(wrapped)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("std::bad_alloc"))
