"""What the quickstart claims, on the cells of its own suite: images, one seed."""

import functools

import pytest

from harness import registry
from harness.record import CellRecord, Status
from harness.suite.load import load
from tests.cells import run_alone


@functools.cache
def measured(architecture: str) -> tuple[CellRecord, dict[tuple[str, str, str], float]]:
    """Metric, inputs and probe → value in float32, of the quickstart's cell of seed 0 on digits."""
    (cell,) = (
        cell
        for cell in load("quickstart").cells
        if cell.seed == 0
        and cell.dataset.name == "digits"
        and registry.label("architecture", cell.architecture) == architecture
    )
    record = run_alone(cell)
    values = {
        (m.probe, m.metric, m.inputs): m.value
        for m in record.measurements
        if m.precision == "float32"
    }
    return record, values


OFF_DISTRIBUTION = ("uniform", "gaussian", "rademacher", "constant", "times_10")


def test_affine_with_sigmoid_reconstructs_what_it_knows_and_explodes_elsewhere() -> None:
    record, value = measured("affine(scale=sigmoid)")
    assert record.status is Status.OK
    assert value["reconstruction", "l2_median", "test"] < 1e-4
    assert value["reconstruction", "non_finite_fraction", "test"] == 0
    assert value["reconstruction", "non_finite_fraction", "times_10"] > 0.9
    assert value["reconstruction", "non_finite_fraction", "gaussian"] > 0.1
    assert 1e-3 < value["reconstruction", "l2_median", "gaussian"] < float("inf")
    assert value["sampling", "blown_up_fraction", "temperature_2"] > 0.2


@pytest.mark.parametrize("architecture", ["additive", "residual(width=16)"])
def test_additive_and_residual_come_back_from_everywhere(architecture: str) -> None:
    record, value = measured(architecture)
    assert record.status is Status.OK
    for inputs in ("test", *OFF_DISTRIBUTION):
        assert value["reconstruction", "non_finite_fraction", inputs] == 0
        assert value["reconstruction", "l2_worst_finite", inputs] < 1e-2


@pytest.mark.parametrize("scale", ["bounded_sigmoid", "bounded_exp"])
def test_affine_with_a_bounded_scale_stays_finite(scale: str) -> None:
    record, value = measured(f"affine(scale={scale})")
    assert record.status is Status.OK
    for inputs in ("test", *OFF_DISTRIBUTION):
        assert value["reconstruction", "non_finite_fraction", inputs] == 0


def test_quickstart_is_as_large_as_it_says() -> None:
    cells = load("quickstart").cells
    assert len(cells) == 96
    assert {cell.dataset.name for cell in cells} == {"checkerboard", "digits"}
    assert len({cell.seed for cell in cells}) >= 8
