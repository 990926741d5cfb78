"""The table of which flow is bounded where says what arXiv 2006.09347 proves of its blocks."""

import functools
import json
import math
from typing import Any

import pytest

from harness import bounds_table, registry
from harness.bijections.base import BiLipschitz
from harness.bounds_table import Extents
from tests.command import Command

Table = dict[str, Any]

EVERYWHERE, BOX = ("finite", "finite"), ("on a box", "on a box")
# Table 1, block by block; the paper's logit is of [0, 1], where its slope has an end.
BLOCKS: dict[str, tuple[str, str]] = {
    "additive coupling": EVERYWHERE,
    "affine coupling, scale then shift": BOX,
    "affine coupling, shift then scale": BOX,
    "residual block": EVERYWHERE,
    "neural ODE": EVERYWHERE,
    "diagonal scaling": EVERYWHERE,
    "ActNorm": EVERYWHERE,
    **{
        f"1×1 convolution, {name}": EVERYWHERE
        for name in registry.names("mixing")
        if name not in ("none", "permutation", "reverse")
    },
    "permutation": EVERYWHERE,
    "squeeze": EVERYWHERE,
    "multi-scale split": EVERYWHERE,
    "logit": ("on a box", "finite"),
}
# Of a flow the worst of its blocks counts. ActNorm, linear maps, permutations and squeezes, which
# stand between the others, are bounded everywhere by their present weights.
PAPER: dict[str, tuple[str, str]] = {
    # y₂ = x₂ + t(x₁): 1 + Lip(t) both ways.
    "additive": EVERYWHERE,
    # Lip(F) has max |x₂| · sup |g'| · Lip(s), Lip(F⁻¹) has max |y₂|: on a box, whatever g is.
    # A bounded g ("modified affine") bounds what stands beside that, not that.
    **{f"affine(scale={scale})": BOX for scale in registry.names("scale_map")},
    "glow(transformer=affine(scale=sigmoid))": BOX,
    # y = x + g(x), Lip(g) < 1: 1 + Lip(g) and 1 / (1 - Lip(g)).
    "residual": EVERYWHERE,
    "residual_flow": EVERYWHERE,
    "residual_image": EVERYWHERE,
    "i_densenet": EVERYWHERE,
    # x' = f(t, x) over unit time: exp(Lip(f)) both ways; of a solver's steps likewise.
    "ffjord": EVERYWHERE,
}
# Not in the paper. Masked autoregressive blocks are triangular as couplings are.
DERIVED: dict[str, tuple[str, str]] = {
    "maf(transformer=affine(scale=sigmoid))": BOX,
    "iaf(transformer=affine(scale=sigmoid))": BOX,
    "tarflow(scale=exp)": BOX,
    "bilipnet": EVERYWHERE,
    "momentum_residual": EVERYWHERE,
    # A map that rounds, or chooses its steps by its input, jumps; between jumps it is as one
    # that does not.
    "bit_exact": BOX,
    "ffjord_adaptive": BOX,
    "reversible_ode": EVERYWHERE,
    # Additive couplings.
    "revnet": EVERYWHERE,
    "reversible_transformer": EVERYWHERE,
    # Of the inverse, which is learned, nothing is known.
    "free_form": ("finite", "unknown"),
    "neural_spline_flow": EVERYWHERE,
    "flow_plus_plus": BOX,
}
UNKNOWN = {"free_form"}
"""Architectures of which no bound is derived."""


rows = functools.cache(bounds_table.bounds_table)


@pytest.fixture
def table(innbench: Command, monkeypatch: pytest.MonkeyPatch) -> Table:
    """As the command prints it; computed once."""
    monkeypatch.setattr(bounds_table, "bounds_table", rows)
    found = json.loads(innbench("list", "architectures", "--bounds", "--json").out)
    return {row.get("block") or row["architecture"]: row for row in found}


PROVEN = BLOCKS | PAPER | DERIVED


@pytest.mark.parametrize("name", PROVEN)
def test_each_is_bounded_where_it_is_proven_to_be(table: Table, name: str) -> None:
    row = table[name]
    assert (row["forward"], row["inverse"]) == PROVEN[name]


@pytest.mark.parametrize("name", ["permutation", "squeeze", "1×1 convolution, cayley"])
def test_what_is_orthogonal_has_bounds_of_1(table: Table, name: str) -> None:
    assert table[name]["bounds"] == pytest.approx([1, 1])


def test_the_numbers_of_a_logit_are_those_of_its_slope_at_the_ends(table: Table) -> None:
    """(1-2α) / p(1-p) with p = α - 0.001 (1-2α) at the end of the box, and 1 / 4(1-2α)."""
    forward, inverse = table["logit"]["bounds_on_box"][0], table["logit"]["bounds"][1]
    p = 0.05 - 0.0009
    assert forward == pytest.approx(0.9 / (p * (1 - p)))
    assert inverse == pytest.approx(1 / 3.6)


def test_only_what_is_not_derived_is_unknown(table: Table) -> None:
    found = {name.split("(")[0] for name, row in table.items() if "unknown" in row.values()}
    assert found == UNKNOWN


def test_summaries_claim_what_the_table_says(table: Table) -> None:
    architectures = {label: row for label, row in table.items() if "architecture" in row}
    assert architectures
    for label, row in architectures.items():
        said = registry.get("architecture", label.split("(")[0]).summary
        assert "no bound" not in said or (row["forward"], row["inverse"]) == ("unknown",) * 2
        assert "bounded on a box only" not in said or (row["forward"], row["inverse"]) == BOX


def test_labels_are_drawn_as_they_are() -> None:
    extents = Extents(
        "architecture", "mine(limits=[/x])", (2,), BiLipschitz(2, 2), BiLipschitz(2, 2)
    )
    assert "mine(limits=[/x])" in bounds_table.as_text([extents])


def test_every_architecture_is_in_the_table(innbench: Command, table: Table) -> None:
    named = {label.split("(")[0] for label, row in table.items() if "architecture" in row}
    assert named == set(registry.names("architecture"))
    assert {label for label, row in table.items() if "block" in row} == set(BLOCKS)
    drawn = innbench("list", "--bounds")
    assert drawn.code == 0
    assert all(label in drawn.out for label in table)
    assert "next: innbench check" in drawn.err


def test_the_numbers_are_there(table: Table) -> None:
    row = table["additive"]
    assert all(1 < bound < 1e3 for bound in row["bounds"])
    assert row["shape"] == [2]
    assert table["affine(scale=exp)"]["bounds"] == ["inf", "inf"]


def test_a_number_that_is_none_bounds_nothing() -> None:
    lost, known = BiLipschitz(math.nan, math.inf), BiLipschitz(2.0, math.nan)
    row = Extents("block", "lost", (2,), lost, known)
    assert (row.forward, row.inverse) == ("on a box", "unknown")


def test_other_axes_have_no_bounds(innbench: Command) -> None:
    said = innbench("list", "datasets", "--bounds")
    assert said.code == 2
    assert "--bounds is of architectures, not of 'datasets'" in said.err
