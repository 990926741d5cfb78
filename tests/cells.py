"""A cell run by itself."""

import torch

from harness.execution import measure, train_cells
from harness.record import CellRecord
from harness.suite.cell import Cell


def run_alone(cell: Cell) -> CellRecord:
    (measured,) = measure(train_cells([cell], torch.device("cpu")))
    return measured.record.unwrap()
