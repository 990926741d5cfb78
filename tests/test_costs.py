"""What a plan says of the cost of probes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.datasets.off_distribution import off_distribution, off_distribution_names
from harness.probes.subject import Probe
from harness.registry import entry
from harness.seeding import generator
from tests.command import Command


def _passes(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    return int(parameters["points"] * dimension * 1000 + sets)


@entry(version=1, cost=_passes)
def costly(*, points: int = 1) -> Probe:
    """Says what it costs."""
    raise NotImplementedError


@entry(version=1)
def silent() -> Probe:
    """Says nothing of it."""
    raise NotImplementedError


def _breaks(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    raise ArithmeticError("of a stranger's")


@entry(version=1, cost=_breaks)
def breaking() -> Probe:
    """Cannot say it."""
    raise NotImplementedError


SUITE = """
name: costs
grid:
  architectures: [additive]
  datasets: [two_moons, digits]
  seeds: 3
training: {steps: 10}
overrides: [{match: {dataset: digits}, training: {steps: 4}}]
probes: [{name: costly, points: 2, every: 5}, silent, breaking]
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("costly", "silent", "breaking"):
        monkeypatch.setitem(registry.BUILT_IN["probe"], name, f"tests.test_costs:{name}")
    path = tmp_path / "costs.yaml"
    path.write_text(SUITE)
    return path


def test_passes_of_each_probe_in_the_cells_that_will_run(innbench: Command, suite: Path) -> None:
    plain = json.loads(innbench("plan", str(suite), "--json").out)
    of = {one["probe"]: one for one in plain["probes"]}
    # Two dimensions and 8 sets, 64 and 6; at steps 0, 5 and 10, or at 0 and 4.
    assert of["costly"] == {
        "probe": "costly",
        "parameters": {"points": 2},
        "every": 5,
        "passes_each_time": {"least": 4_008, "most": 128_006},
        "times_a_cell": {"least": 2, "most": 3},
        "passes_of_all_cells": 3 * (3 * 4_008 + 2 * 128_006),
    }
    for name in ("silent", "breaking"):
        assert of[name]["passes_each_time"] is of[name]["passes_of_all_cells"] is None
        assert of[name]["times_a_cell"] == {"least": 1, "most": 1}
    text = innbench("plan", str(suite)).out
    (line,) = [line for line in text.splitlines() if line.startswith("costly")]
    assert line.split() == [
        *("costly(points=2)", "(every", "5", "steps)"),
        *("4,008–128,006", "2–3", "804,108"),
    ]
    (line,) = [line for line in text.splitlines() if line.startswith("silent")]
    assert line.split() == ["silent", "unknown", "1", "unknown"]


def test_cells_that_do_not_run_cost_nothing(innbench: Command, tiny: Path) -> None:
    innbench("run", str(tiny), "--inline")
    assert json.loads(innbench("plan", str(tiny), "--json").out)["probes"] == []
    assert "passes" not in innbench("plan", str(tiny)).out


@pytest.mark.parametrize("name", ["digits", "rings"])
def test_off_distribution_sets_have_the_names_they_are_said_to_have(name: str) -> None:
    dataset = registry.build("dataset", registry.resolve("dataset", name))
    test = dataset.prepare(dataset.read().test[:4], generator(0, "test"))
    made = off_distribution(dataset, test, 4, generator(0, "sets"))
    assert off_distribution_names(dataset) == tuple(made)
    assert len(made) == (7 if dataset.shape == (2,) else 5)
