import os
from pathlib import Path

import pytest
import torch

from tests.command import Command

# Cells and tests share two cores: one thread each, as a worker has.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY = """
name: tiny
grid:
  architectures: [additive, {name: affine, scale: [exp, bounded_exp]}]
  datasets: [{name: checkerboard, size: 200}]
  seeds: 2
training: {steps: 3, batch_size: 16}
probes:
  - {name: reconstruction, points: 16}
  - {name: sampling, samples: 16}
"""


@pytest.fixture
def innbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command, in an empty folder."""
    return Command(monkeypatch, capsys, tmp_path)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A suite file of six cells of a fraction of a second each."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
