"""How a plan reads."""

import json
from pathlib import Path

import pytest
import torch

from harness import planning
from harness.memory import device as device_memory
from harness.memory.device import FRACTION, Memory
from harness.memory.member import member_bytes
from harness.planning import Room, as_text
from harness.suite.load import load
from harness.suite.plan import plan
from tests.command import Command

SUITE = """
name: packed
grid:
  architectures: [{name: additive, couplings: 2}, {name: residual, blocks: 1}]
  regularizers: [none, {name: finite_difference, weight: [0.01, 0.1]}]
  datasets: [checkerboard]
  seeds: 6
training: {steps: 3, batch_size: 512}
probes: [log_det]
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "packed.yaml"
    path.write_text(SUITE)
    return path


def test_plan_shows_packs_and_what_they_take(innbench: Command, suite: Path) -> None:
    plain = json.loads(innbench("plan", str(suite), "--workers", "1", "--json").out)
    cells = load(suite).cells
    assert [key for pack in plain["packs"] for key in pack["cell_ids"]] == [one.id for one in cells]
    # Two weights are one program; the residual block's inverse in training runs alone.
    assert [len(pack["cell_ids"]) for pack in plain["packs"]] == [6, 12, 6, *[1] * 12]
    member = member_bytes(cells[0])
    assert member is not None
    assert plain["packs"][0]["memory_bytes"] == 6 * member
    assert plain["packs"][-1]["memory_bytes"] is None
    text = innbench("plan", str(suite), "--workers", "1").out
    (line,) = [line for line in text.splitlines() if "2), finite_difference, checker" in line]
    assert line.split()[:2] == ["1", "12"]
    size = plain["packs"][1]["memory_bytes"] / 1e6
    assert line.split()[2:4] == [f"{size:.0f}", "MB"]
    assert line.endswith("additive(couplings=2), finite_difference, checkerboard, batches of 512")
    (alone,) = [line for line in text.splitlines() if "one by one" in line]
    assert alone.split()[:3] == ["12", "1", "residual(blocks=1),"]
    assert "512; one by one, for its inverse branches on data" in " ".join(text.split())
    assert "36 to run in 15 packs" in text
    assert plain["expected_seconds"] is None


def test_plan_cuts_packs_that_memory_has_no_room_for(
    innbench: Command, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = member_bytes(load(suite).cells[0])
    assert member is not None
    size = 1 + int(4 * member / FRACTION)
    monkeypatch.setattr(device_memory, "host_memory", lambda: Memory(size, size))
    plain = json.loads(innbench("plan", str(suite), "--workers", "1", "--json").out)
    sizes = [len(pack["cell_ids"]) for pack in plain["packs"]]
    assert sizes[:2] == [3, 3]
    assert sizes[2] < 3  # finite differences take more
    two = json.loads(innbench("plan", str(suite), "--workers", "2", "--json").out)
    assert [len(pack["cell_ids"]) for pack in two["packs"][:3]] == [2, 2, 2]


def test_many_packs_are_summed_and_few_programs_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def counted(one: object) -> int:
        measured.append(one)
        return 10**9

    monkeypatch.setattr(planning, "member_bytes", counted)
    monkeypatch.setattr(planning, "members_that_fit", lambda *_: None)
    path = tmp_path / "many.yaml"
    learning = SUITE.replace("steps: 3", f"steps: {list(range(1, 71))}")
    path.write_text(learning.replace("  regularizers", "  # regularizers"))
    cells = load(path).cells
    text = as_text(plan(cells, {}, {}), 1, Room(torch.device("cpu"), 1.0))
    assert len(cells) == 840
    assert len(set(measured)) == planning.MEASURED
    lines = text.split("\n\n")[-3].splitlines()
    assert len(lines) == 1 + 3
    assert lines[1].split()[:4] == ["50", "6", "6.0", "GB"]
    assert lines[2].split()[:3] == ["20", "6", "unknown"]


def test_a_long_list_of_packs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "member_bytes", lambda _: 10**6)
    monkeypatch.setattr(planning, "members_that_fit", lambda *_: None)
    path = tmp_path / "many.yaml"
    various = SUITE.replace("couplings: 2", f"couplings: {list(range(1, 31))}")
    path.write_text(various.replace("  regularizers", "  # regularizers"))
    text = as_text(plan(load(path).cells, {}, {}), 1, Room(torch.device("cpu"), 1.0))
    lines = text.split("\n\n")[-3].splitlines()
    assert len(lines) == 1 + planning.LISTED + 1
    assert lines[-1].split()[:2] == ["11", "more:"]
