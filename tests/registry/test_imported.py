"""Architectures that are in no registry, on a suite's grid."""

import importlib
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from harness import registry
from harness.adapters.adapt import adapted
from harness.bijections.chain import Chain
from harness.execution import measure, train_cells
from harness.record import Status
from harness.registry import Choice
from harness.seeding import generator
from harness.suite import LoadedSuite, json_schema, load
from harness.suite.packs import branching
from tests.command import Command, start
from tests.suite.suite_text import mistakes, written

OWN = '''
import numpy as np
import torch
from torch import nn
from harness.bijections.linear.linear import LULinear
from harness.registry import entry


class Scaled(nn.Module):
    def __init__(self, dimensions, width=1):
        super().__init__()
        self.layer = nn.Linear(dimensions, width)
        self.scale = nn.Parameter(torch.randn(dimensions) + np.random.randn() * 10)

    def forward(self, x):
        return x * self.scale.exp(), self.scale.sum()

    def inverse(self, y):
        return y * (-self.scale).exp()


def plain(shape, generator, *, width: int = 1, activation=nn.ReLU, name_of="x"):
    """What it is."""
    return Scaled(*shape, width)


def alone():
    return Scaled(2)


@entry(version=3, refuses=lambda c: "never on digits" if c.dataset.name == "digits" else None)
def marked(shape, generator, *, depth: int = 1):
    return LULinear(*shape, generator)


class Flip:
    def forward(self, x):
        return x.flip(1), 0.0

    def inverse(self, y):
        return y.flip(1)


def weightless():
    return Flip()


class Rounded(Scaled):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


def no_gradient():
    return Rounded(2)


def no_inverse(shape, generator):
    return nn.Linear(2, 2)


@entry(version=1)
def misnamed(shape, generator, *, preset: int = 3):
    return None
'''

TEXT = """
name: external
grid:
  architectures: {architectures}
  datasets: [{{name: checkerboard, size: 100}}]
  seeds: {seeds}
training: {{steps: 3, batch_size: 16}}
probes: [{{name: reconstruction, points: 8}}]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of one's own that lies beside the suite, and nowhere else."""
    name = f"own_{uuid.uuid4().hex[:8]}"  # entries are remembered by name
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def suite(folder: Path, architectures: str, seeds: int = 1) -> LoadedSuite:
    return load(written(folder, TEXT.format(architectures=architectures, seeds=seeds)))


def test_an_imported_architecture_is_its_path_and_its_parameters(
    tmp_path: Path, module: str
) -> None:
    path = f"{module}:plain"
    loaded = suite(tmp_path, f"[{{import: '{path}', width: [2, 3]}}, '{path}', '{module}:marked']")
    choices = [cell.architecture for cell in loaded.cells]
    shared = {"name_of": "x"}
    assert choices == [
        Choice(name=path, version=0, parameters={"width": 2, **shared}),
        Choice(name=path, version=0, parameters={"width": 3, **shared}),
        Choice(name=path, version=0, parameters={"width": 1, **shared}),
        Choice(name=f"{module}:marked", version=3, parameters={"depth": 1}),
    ]
    assert registry.label("architecture", choices[0]) == f"{path}(width=2)"
    assert loaded.cells[0].id.startswith(f"{module}-plain_none_checkerboard"[:40])
    assert loaded.folders == (str(Path.cwd()), str(tmp_path))
    # Of a stranger's factory nothing is known; a marked one says it itself.
    assert [branching(cell) for cell in loaded.cells] == ["forward"] * 3 + [None]
    stored = choices[0].model_dump(mode="json")
    assert registry.resolve("architecture", stored) == choices[0]


def test_what_it_draws_globally_follows_the_seed_and_leaves_no_trace(
    tmp_path: Path, module: str
) -> None:
    suite(tmp_path, f"['{module}:alone']")
    choice = registry.resolve("architecture", f"{module}:alone")
    before = torch.get_rng_state(), repr(np.random.get_state())

    def scale(seed: int) -> torch.Tensor:
        flow = registry.build("architecture", choice, (2,), generator(seed, "initialisation"))
        found: torch.Tensor = flow.held.scale
        return found

    first, other = scale(0), scale(1)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert repr(np.random.get_state()) == before[1]
    torch.rand(3)
    assert torch.equal(scale(0), first)


@pytest.mark.parametrize(
    ("factory", "steps"), [("plain", 3), ("weightless", 0), ("no_gradient", 0)]
)
def test_it_is_trained_where_there_is_something_to_train(
    tmp_path: Path, module: str, factory: str, steps: int
) -> None:
    loaded = suite(tmp_path, f"['{module}:{factory}']")
    (trained,) = train_cells(loaded.cells, torch.device("cpu"))
    assert trained.trained.steps == steps
    (measured,) = measure([trained])
    record = measured.record.unwrap()
    assert record.status is Status.OK
    assert record.architecture == f"{module}:{factory}"
    errors = [m.value for m in record.measurements if m.metric == "l2_worst_finite"]
    assert len(errors) > 0
    assert max(errors) < 1e-2


def test_mistakes_are_told_with_file_line_and_key(tmp_path: Path, module: str) -> None:
    listed = f"""
    - {{import: '{module}:plain', widht: 3}}
    - {{import: '{module}:plian'}}
    - nowhere_at_all:plain
    - {{import: '{module}:plain', width: two}}
    - {{import: '{module}:misnamed'}}
    - {{import: ':plain'}}"""
    said = mistakes(tmp_path, TEXT.format(architectures=listed, seeds=1))
    start = "suite.yaml:{}: grid.architectures[{}]"
    wanted = [
        (4, ".widht", "has no parameter 'widht'; allowed: name_of, width; did you mean 'width'?"),
        (5, ".import", f"{module} has no 'plian'; allowed: "),
        (6, "", "cannot import 'nowhere_at_all': ModuleNotFoundError"),
        (7, ".width", "input should be a valid integer; got 'two'"),
        (8, ".import", "is no entry: TypeError: "),
        (9, ".import", "':plain' is no module:factory"),
    ]
    assert len(said) == len(wanted)
    for number, (sentence, (line, key, what)) in enumerate(zip(said, wanted, strict=True)):
        assert sentence.startswith(start.format(line, number) + key)
        assert what in sentence


def test_rules_and_refusals_know_it(tmp_path: Path, module: str) -> None:
    text = TEXT.format(architectures=f"[{{import: '{module}:plain', width: [1, 2]}}]", seeds=2)
    rule = f"{{architecture: {{import: '{module}:plain', width: 2}}, seed: 1}}"
    loaded = load(written(tmp_path, f"{text}exclude: [{rule}]"))
    assert len(loaded.cells) == 3
    refused = TEXT.replace("{{name: checkerboard, size: 100}}", "digits")
    (said,) = mistakes(tmp_path, refused.format(architectures=f"['{module}:marked']", seeds=1))
    assert f"architecture {module}:marked cannot be combined with " in said
    assert "never on digits" in said


def test_the_editors_schema_takes_what_loads(tmp_path: Path, module: str) -> None:
    validator = Draft202012Validator(json_schema())
    for architectures, fits in (
        (f"[{{import: '{module}:plain', width: [2, 3]}}, '{module}:alone']", True),
        ("[{import: plain}]", False),
        ("[plain]", False),
    ):
        text = TEXT.format(architectures=architectures, seeds=1)
        assert validator.is_valid(YAML(typ="safe").load(text)) == fits
        assert bool(mistakes(tmp_path, text)) != fits


def test_a_network_without_an_inverse_fails_its_cell_in_a_sentence(
    tmp_path: Path, module: str, innbench: Command
) -> None:
    path = written(tmp_path, TEXT.format(architectures=f"['{module}:no_inverse']", seeds=1))
    said = innbench("run", str(path), "--inline")
    assert said.code == 1
    assert f"{module}:no_inverse: Linear has no method 'inverse'" in said.err


def test_ours_are_taken_as_they_are(module: str, tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))
    importlib.invalidate_caches()
    flow = registry.build(
        "architecture", registry.resolve("architecture", "additive"), (2,), generator(0, "test")
    )
    assert adapted(flow) is flow
    assert isinstance(flow, Chain)
    marked = registry.resolve("architecture", f"{module}:marked")
    built = registry.build("architecture", marked, (2,), generator(0, "test"))
    assert type(built).__name__ == "LULinear"


def test_workers_of_a_real_ray_find_what_lies_beside_the_suite(tmp_path: Path, module: str) -> None:
    path = written(tmp_path, TEXT.format(architectures=f"['{module}:plain']", seeds=2))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    process = start("run", str(path), "--workers", "1", cwd=elsewhere)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "2 cells done (0 diverged), 0 failed" in err
    assert "1.00" in out
