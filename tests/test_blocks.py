"""The suite of all building blocks for vectors: whole, and in small through the command."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness import registry, resources
from harness.conformance.registered import candidate
from harness.suite.load import load
from tests.command import Command

PLANE = (2,)


def in_the_plane() -> set[str]:
    """The registered architectures that take inputs of two dimensions."""
    found = set()
    for name in registry.names("architecture"):
        try:
            candidate(registry.resolve("architecture", name), PLANE)
        except ValueError:
            continue
        found.add(name)
    return found


def test_it_names_every_architecture_for_vectors() -> None:
    named = {cell.architecture.name for cell in load("blocks").cells}
    missing = sorted(in_the_plane() - named)
    assert not missing, (
        f"suites/blocks.yaml compares all architectures that take vectors, and does not name "
        f"{', '.join(missing)}: add a line to its grid.architectures, at a size of about "
        "5 ms of training a step and network"
    )


def test_every_architecture_meets_every_density_eight_times() -> None:
    cells = load("blocks").cells
    datasets = {cell.dataset.name for cell in cells}
    assert len(datasets) == 3
    kinds = {registry.label("architecture", cell.architecture) for cell in cells}
    assert len(cells) == len(kinds) * 3 * 8
    assert {cell.seed for cell in cells} == set(range(8))
    shapes = {registry.build("dataset", cell.dataset).shape for cell in cells}
    assert shapes == {PLANE}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The suite as it stands, with hardly any training, one seed and few inputs."""
    plain = YAML(typ="safe")
    suite: dict[str, Any] = plain.load(resources.suites_folder() / "blocks.yaml")
    suite["name"] = "small"
    suite["grid"]["seeds"] = 1
    suite["training"]["steps"] = 2
    suite["training"]["batch_size"] = 16
    for probe in suite["probes"]:
        probe |= {"samples" if probe["name"] == "sampling" else "points": 4}
    path = tmp_path / "small.yaml"
    plain.dump(suite, path)
    return path


def test_in_small_it_ends_in_bounds_beside_what_was_measured(
    innbench: Command, small: Path
) -> None:
    planned = json.loads(innbench("plan", str(small), "--json").out)
    assert {cell["why"] for cell in planned["cells"]} == {"new"}
    ran = innbench("run", str(small), "--inline")
    assert ran.code == 0, ran.err
    assert "small: bound beside measured" in ran.out
    rows = json.loads(innbench("leaderboard", str(small), "--json").out)["rows"]
    assert sum(row["done"] for row in rows) == len(planned["cells"])
    bounded: dict[str, list[bool]] = {}
    for row in rows:
        name = row["entrant"]["architecture"]
        ways = [row["forward"], row["inverse"]]
        assert [way["violated"] for way in ways] == [0, 0], name
        assert all(float(way["measured"]) > 0 for way in ways), name
        bounded[name.split("(")[0]] = [math.isfinite(float(way["bound"])) for way in ways]
    assert bounded["additive"] == bounded["residual"] == [True, True]
    assert bounded["affine"] == [False, False]
