"""The table of which block is bounded where agrees with that of the paper (arXiv 2006.09347)."""

import json
from typing import Any

import pytest

from harness import registry
from tests.command import Command

Table = dict[str, Any]


@pytest.fixture
def table(innbench: Command) -> Table:
    rows = json.loads(innbench("list", "architectures", "--bounds", "--json").out)
    return {row["architecture"]: row for row in rows}


def test_additive_and_residual_are_bounded_everywhere(table: Table) -> None:
    for name in ("additive", "bilipnet", "bit_exact", "momentum_residual", "residual"):
        assert (table[name]["forward"], table[name]["inverse"]) == ("finite", "finite")


@pytest.mark.parametrize("scale", registry.names("scale_map"))
def test_affine_is_bounded_nowhere_but_at_most_on_a_box(table: Table, scale: str) -> None:
    row = table[f"affine(scale={scale})"]
    assert "finite" not in (row["forward"], row["inverse"])


@pytest.mark.parametrize("scale", registry.names("scale_map"))
def test_affine_is_bounded_on_a_box(table: Table, scale: str) -> None:
    row = table[f"affine(scale={scale})"]
    assert (row["forward"], row["inverse"]) == ("on a box", "on a box")


def test_every_architecture_is_in_the_table(innbench: Command, table: Table) -> None:
    named = {label.split("(")[0] for label in table}
    assert named == set(registry.names("architecture"))
    drawn = innbench("list", "--bounds")
    assert drawn.code == 0
    assert all(label in drawn.out for label in table)
    assert "next: innbench check" in drawn.err


def test_the_numbers_are_there(table: Table) -> None:
    row = table["additive"]
    assert all(1 < bound < 1e3 for bound in row["bounds"])
    assert row["shape"] == [2]
    assert table["affine(scale=exp)"]["bounds"] == ["inf", "inf"]


def test_other_axes_have_no_bounds(innbench: Command) -> None:
    said = innbench("list", "datasets", "--bounds")
    assert said.code == 2
    assert "--bounds is of architectures, not of 'datasets'" in said.err
