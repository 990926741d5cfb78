"""Backpropagation as a setting: what is impossible is told when the suite is read."""

from pathlib import Path

import pytest

from harness.suite import Cell, Training
from tests.suite.suite_text import SMALL, loaded, mistakes
from tests.suite.test_identity import cell


def test_a_default_that_came_later_is_no_part_of_an_identity() -> None:
    said = cell(training=Training(backpropagation="autograd"))
    assert said.id == cell().id
    assert "backpropagation" not in said.specification()
    other = cell(training=Training(backpropagation="guarded"))
    assert '"backpropagation":"guarded"' in other.specification()
    for one in (said, other):
        assert Cell.from_specification(one.specification()) == one


@pytest.mark.parametrize("how", ["memory_saving", "guarded"])
def test_a_learned_inverse_is_refused(tmp_path: Path, how: str) -> None:
    grid = SMALL.replace("[additive]", "[free_form]\n  regularizers: [reconstruction]")
    (told,) = mistakes(tmp_path, f"{grid}training: {{backpropagation: [autograd, {how}]}}")
    assert ": training.backpropagation: " in told
    assert f"'{how}' rebuilds activations by the inverse" in told
    assert "'free_form' is learned" in told


def test_a_penalty_that_looks_inside_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    text = """
    name: small
    grid:
      architectures: [affine]
      regularizers: [none, log_scale]
      datasets: [checkerboard]
    overrides:
      - {match: {regularizer: none}, training: {backpropagation: guarded}}
    """
    cells = loaded(tmp_path, text).cells
    assert [one.training.backpropagation for one in cells] == ["guarded", "autograd"]
    (told,) = mistakes(tmp_path, text.replace("regularizer: none}", "dataset: checkerboard}"))
    assert told.startswith(
        "suite.yaml:7: overrides[0].training.backpropagation: 'guarded' keeps no graph"
    )
    assert "'log_scale' looks at activations within the network" in told
