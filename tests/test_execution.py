"""One cell on its own: what its record holds and what decides it."""

from pathlib import Path

import pytest
import torch

from harness import registry
from harness.execution import measure, train_cells
from harness.record import CellRecord, Measurement
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.suite.load import load
from tests.cells import run_alone
from tests.probing import probed

SUITE = """
name: one
grid:
  architectures: [{name: residual, actnorm: false, blocks: 1}]
  datasets: [{name: checkerboard, size: 100}]
  seeds: 2
training: {steps: 0}
probes: [{name: bi_lipschitz, points: 4}]
"""


@pytest.fixture
def cells(tmp_path: Path) -> tuple[Cell, ...]:
    path = tmp_path / "one.yaml"
    path.write_text(SUITE)
    return load(path).cells


def values(record: CellRecord) -> dict[tuple[str, str], float]:
    return {(m.metric, m.inputs): m.value for m in record.measurements}


def test_the_seed_decides_the_initial_weights(cells: tuple[Cell, ...]) -> None:
    """Nothing is trained and nothing is initialised from data: only the weights can differ."""
    first, second = (values(run_alone(cell)) for cell in cells)
    assert first["bound_forward", "none"] != second["bound_forward", "none"]


def test_a_cell_is_the_same_again_and_from_its_specification(cells: tuple[Cell, ...]) -> None:
    cell = cells[0]
    first = run_alone(cell)
    again = run_alone(Cell.from_specification(first.specification))
    assert first.measurements == again.measurements
    assert (first.cell_id, first.architecture_label) == (again.cell_id, again.architecture_label)
    assert first.architecture_label == "residual(blocks=1, actnorm=False)"
    assert first.dataset_label == "checkerboard(size=100)"


def test_probes_draw_by_the_cells_seed_and_say_after_which_step(cells: tuple[Cell, ...]) -> None:
    training = cells[1].training.model_copy(update={"steps": 3, "batch_size": 8})
    sampling = registry.resolve("probe", {"name": "sampling", "samples": 8})
    cell = cells[1].model_copy(update={"probes": (sampling,), "training": training})
    (trained,) = train_cells([cell], torch.device("cpu"))
    record = next(measure([trained])).record.unwrap()

    def by(seed: int) -> list[Measurement]:
        source = generator(seed, "probe sampling")
        return probed(sampling, trained.flow, trained.inputs, source)

    assert [m for m in record.measurements if m.probe == "sampling"] == by(cell.seed)
    assert by(0) != by(cell.seed)
    assert {m.step for m in record.measurements} == {record.steps} == {3}
