from pathlib import Path

from harness.registry import Choice
from harness.suite import Cell, Training
from harness.suite.model import USUAL_PROBES
from tests.suite.suite_text import SMALL, loaded

EXAMPLE = """
name: quickstart
about: Does bounded coupling keep what affine coupling loses?
task: density
grid:
  architectures:
    - additive
    - name: affine
      couplings: 8
      scale: [sigmoid, exp, {name: bounded_exp, limit: [2, 5]}]
    - residual
    - glow
  regularizers: [none, {name: finite_difference, weight: [1e-4, 1e-3]}]
  datasets: [checkerboard, digits]
  seeds: 3
exclude:
  - {architecture: {name: affine, scale: exp}, dataset: digits}
  - {architecture: glow, dataset: [checkerboard, eight_gaussians]}
training: {steps: 300, batch_size: 128, learning_rate: [1e-3, 2e-3]}
overrides:
  - {match: {dataset: digits}, training: {steps: 500}}
probes: [reconstruction, {name: sampling}]
resources: {cpus: 1, gpus: 0.25}
"""


def test_the_example_becomes_the_cells_that_one_counts_by_hand(tmp_path: Path) -> None:
    suite = loaded(tmp_path, EXAMPLE)
    # 7 architectures on 2 datasets, less affine-exp on digits and glow on the checkerboard.
    assert len(suite.cells) == (7 * 2 - 2) * 3 * 3 * 2
    assert len({cell.id for cell in suite.cells}) == len(suite.cells)
    pairs = {(cell.id.split("_")[0], cell.dataset.name) for cell in suite.cells}
    assert ("affine-exp", "digits") not in pairs
    assert ("affine-exp", "checkerboard") in pairs
    assert ("affine-sigmoid", "digits") in pairs
    assert ("glow-lu-affine-sigmoid", "digits") in pairs
    assert ("glow-lu-affine-sigmoid", "checkerboard") not in pairs
    assert {(cell.dataset.name, cell.training.steps) for cell in suite.cells} == {
        ("checkerboard", 300),
        ("digits", 500),
    }
    assert {cell.training.learning_rate for cell in suite.cells} == {1e-3, 2e-3}
    assert {cell.seed for cell in suite.cells} == {0, 1, 2}
    assert {probe.name for probe in suite.cells[0].probes} == {"reconstruction", "sampling"}
    assert (suite.resources.cpus, suite.resources.gpus) == (1.0, 0.25)
    assert suite.suite.about.startswith("Does bounded")


def test_nested_lists_expand_with_their_own_parameters(tmp_path: Path) -> None:
    cells = loaded(
        tmp_path,
        """
        name: nested
        grid:
          architectures:
            - name: affine
              width: [8, 16]
              scale: [sigmoid, {name: bounded_exp, limit: [2, 5]}]
          datasets: [checkerboard]
        """,
    ).cells
    found = [
        (c.architecture.parameters["width"], c.architecture.parameters["scale"]) for c in cells
    ]
    sigmoid = {"name": "sigmoid", "version": 1, "parameters": {"floor": 0.0}}
    bounded = [
        {"name": "bounded_exp", "version": 1, "parameters": {"limit": x}} for x in (2.0, 5.0)
    ]
    assert found == [(width, scale) for width in (8, 16) for scale in (sigmoid, *bounded)]


def test_what_is_left_out_has_the_documented_defaults(tmp_path: Path) -> None:
    (cell,) = loaded(tmp_path, SMALL).cells
    assert cell.task.name == "density"
    assert cell.regularizer.name == "none"
    assert cell.seed == 0
    assert {p.name for p in cell.probes} == set(USUAL_PROBES)
    assert cell.training == Training(
        steps=300,
        batch_size=128,
        learning_rate=1e-3,
        weight_decay=0.0,
        gradient_clip=100.0,
        schedule="constant",
        log_every=10,
        precision="float32",
    )


def test_seeds_are_a_count_or_a_list(tmp_path: Path) -> None:
    assert [c.seed for c in loaded(tmp_path, f"{SMALL}  seeds: 3").cells] == [0, 1, 2]
    assert [c.seed for c in loaded(tmp_path, f"{SMALL}  seeds: [7, 3]").cells] == [7, 3]


def test_later_overrides_win_and_lists_in_them_replace_lists(tmp_path: Path) -> None:
    cells = loaded(
        tmp_path,
        """
        name: overrides
        grid:
          architectures: [additive, residual]
          datasets: [checkerboard, digits]
          seeds: 2
        training: {learning_rate: [1e-3, 2e-3], gradient_clip: null}
        overrides:
          - {match: {dataset: digits}, training: {steps: 500, learning_rate: 5e-4}}
          - {match: {dataset: digits, architecture: residual}, training: {steps: [600, 700]}}
          - {match: {seed: 1, dataset: checkerboard}, training: {batch_size: 64}}
        """,
    ).cells
    found = {
        (c.architecture.name, c.dataset.name, c.seed, c.training.steps, c.training.learning_rate)
        for c in cells
    }
    assert found == {
        *(
            (architecture, "checkerboard", seed, 300, rate)
            for architecture in ("additive", "residual")
            for seed in (0, 1)
            for rate in (1e-3, 2e-3)
        ),
        *(("additive", "digits", seed, 500, 5e-4) for seed in (0, 1)),
        *(("residual", "digits", seed, steps, 5e-4) for seed in (0, 1) for steps in (600, 700)),
    }
    assert len(found) == len(cells)
    small = {(c.dataset.name, c.seed) for c in cells if c.training.batch_size == 64}
    assert small == {("checkerboard", 1)}
    assert all(c.training.gradient_clip is None for c in cells)


def scale(cell: Cell) -> Choice:
    return Choice.model_validate(cell.architecture.parameters["scale"])


def test_rules_match_numbers_lists_seeds_and_nested_parameters(tmp_path: Path) -> None:
    cells = loaded(
        tmp_path,
        """
        name: rules
        grid:
          architectures:
            - name: affine
              couplings: [4, 8]
              scale: [exp, {name: bounded_exp, limit: [2, 5, 7]}]
          regularizers: [none]
          datasets: [checkerboard]
          seeds: 2
        exclude:
          - architecture: {name: affine, couplings: 4, scale: {name: bounded_exp, limit: [2.0, 5]}}
          - {architecture: {name: affine, scale: [exp]}, seed: [1]}
        """,
    ).cells
    found = {
        (
            c.architecture.parameters["couplings"],
            scale(c).name,
            scale(c).parameters.get("limit"),
            c.seed,
        )
        for c in cells
    }
    assert found == {
        *((8, "bounded_exp", limit, seed) for limit in (2.0, 5.0, 7.0) for seed in (0, 1)),
        *((4, "bounded_exp", 7.0, seed) for seed in (0, 1)),
        (4, "exp", None, 0),
        (8, "exp", None, 0),
    }
    assert len(found) == len(cells)


def test_a_true_in_a_rule_is_not_a_one(tmp_path: Path) -> None:
    text = """
        name: truth
        grid:
          architectures: [{name: additive, layers: [1, 2], actnorm: [true, false]}]
          datasets: [checkerboard]
        exclude:
          - architecture: {name: additive, layers: [true, 2], actnorm: [1, false]}
        """
    found = [c.architecture.parameters for c in loaded(tmp_path, text).cells]
    assert [(p["layers"], p["actnorm"]) for p in found] == [(1, True), (1, False), (2, True)]
