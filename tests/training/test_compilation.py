"""Compiled steps against the steps as they are, and the cache after a process was killed in it."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness import planning, registry
from harness.record import Status
from harness.seeding import generator
from harness.suite.model import Training
from harness.training import compilation
from harness.training.batches import Batches
from harness.training.compilation import Compiler
from harness.training.loop import Member, Trained, train
from tests.command import Command

STEPS = 12
ENOUGH = 10**9
COUPLED = {"name": "affine", "couplings": 1, "width": 3, "layers": 1}
PENALTY = {"name": "finite_difference", "weight": 0.1, "every": 3}


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def trained(
    compiler: Compiler | None,
    *,
    precision: str = "float64",
    seeds: int = 2,
    architecture: object = COUPLED,
    regularizer: object = PENALTY,
    dataset: str = "eight_gaussians",
) -> tuple[list[Tensor], list[Trained]]:
    """Weights of the members and how their training ended."""
    data = registry.build("dataset", registry.resolve("dataset", dataset))
    settings = Training(steps=STEPS, batch_size=8, log_every=1, precision=precision)  # type: ignore[arg-type]
    members = [
        Member(
            registry.build(
                "architecture",
                registry.resolve("architecture", architecture),
                data.shape,
                generator(seed, "initialisation"),
            ),
            settings,
            registry.build("regularizer", registry.resolve("regularizer", regularizer)),
            seed,
        )
        for seed in range(seeds)
    ]
    task = registry.build("task", registry.resolve("task", "density"))
    batches = Batches(data, data.read().train, settings.batch_size, range(seeds))
    ended = train(members, task, batches, compiler)
    flat = [
        torch.cat([p.detach().flatten() for p in member.flow.parameters()]) for member in members
    ]
    return flat, ended


@pytest.mark.parametrize(
    ("precision", "seeds", "regularizer", "dataset", "tolerance"),
    [("float64", 2, PENALTY, "eight_gaussians", 1e-9), ("float32", 1, "none", "digits", 1e-4)],
)
def test_compiled_training_is_the_training_as_it_is(
    precision: str, seeds: int, regularizer: object, dataset: str, tolerance: float
) -> None:
    """Alone and in a pack; with a penalty that comes every third step; of images, permuted."""
    given = {"precision": precision, "seeds": seeds, "dataset": dataset}
    compiler = Compiler(ENOUGH)
    ours, together = trained(compiler, regularizer=regularizer, **given)  # type: ignore[arg-type]
    theirs, apart = trained(None, regularizer=regularizer, **given)  # type: ignore[arg-type]
    # One for steps without the penalty, one for those with it.
    assert (compiler.programs, compiler.note) == (1 if regularizer == "none" else 2, "")
    assert compiler.seconds > 0
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    for ended, expected in zip(together, apart, strict=True):
        assert ended.status is expected.status is Status.OK
        values = [point.value for point in ended.curve]
        assert values == pytest.approx([p.value for p in expected.curve], rel=tolerance)
        assert len(values) >= 3 * STEPS


def test_a_few_steps_are_not_compiled() -> None:
    compiler = Compiler(compilation.PAYS_FROM - 1)
    ours, _ = trained(compiler)
    theirs, _ = trained(None)
    assert compiler.programs == compiler.seconds == 0
    assert compiler.note == "not compiled: it pays from 10000 steps on, and these are 9999"
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_what_branches_on_data_runs_as_it_is() -> None:
    compiler = Compiler(ENOUGH)
    residual = {"name": "residual", "blocks": 1, "width": 3}
    every = {"name": "finite_difference", "weight": 0.1, "every": 1}
    ours, _ = trained(compiler, seeds=1, architecture=residual, regularizer=every)
    theirs, _ = trained(None, seeds=1, architecture=residual, regularizer=every)
    assert compiler.programs == 0
    assert compiler.note.startswith("not compiled: ")
    assert torch.equal(ours[0], theirs[0])


def test_what_says_that_it_branches_is_not_even_tried() -> None:
    compiler = Compiler(ENOUGH, "its inverse branches on data")

    def step(x: Tensor) -> tuple[Tensor, ...]:
        return (x.sin(),)

    assert compiler.compile(step, torch.ones(3)) is step
    assert compiler.note == "not compiled: its inverse branches on data"
    assert compiler.seconds == 0


def test_a_program_that_computes_something_else_is_not_used() -> None:
    calls = 0

    def remembers(x: Tensor) -> tuple[Tensor, ...]:
        nonlocal calls
        calls += 1
        return (x * calls,)

    compiler = Compiler(ENOUGH)
    used = compiler.compile(remembers, torch.ones(3))
    assert used is remembers
    assert compiler.programs == 0
    assert (
        compiler.note == "not compiled: ArithmeticError: the compiled step computes something else"
    )


def test_what_is_compared_is_compared_row_by_row() -> None:
    allowed = compilation._allowed(torch.tensor([[1.0, torch.nan], [1e6, 2.0]]))
    torch.testing.assert_close(allowed.flatten(), torch.tensor([1.0, 1e6]) * 2**-11.5)


SUITE = """
name: long
grid:
  architectures: [{name: additive, couplings: 1, width: 3, layers: 1}]
  datasets: [{name: checkerboard, size: 100}]
  seeds: 2
training: {batch_size: 8, steps: [STEPS]}
probes: [{name: reconstruction, points: 4}]
resources: {compile: true}
"""


def test_a_suite_compiles_its_long_runs_and_says_so(
    innbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "PAYS_FROM", 3)
    monkeypatch.setattr(planning, "PAYS_FROM", 3)
    file = tmp_path / "long.yaml"
    file.write_text(SUITE.replace("STEPS", "2, 3"))
    sentence = "2 of them compiled: those of 3 steps and more"
    assert sentence in innbench("plan", str(file)).out
    assert json.loads(innbench("plan", str(file), "--json").out)["compiled_cells"] == 2
    ran = innbench("run", str(file), "--inline")
    assert (ran.code, sentence in ran.err) == (0, True)
    query = "select steps, provenance from cells order by steps"
    rows = json.loads(innbench("sql", query, "--json").out)
    found = [(row["steps"], json.loads(row["provenance"])) for row in rows]
    assert [(steps, origin["compiled_programs"]) for steps, origin in found] == [
        (2, 0),
        (2, 0),
        (3, 1),
        (3, 1),
    ]
    assert found[0][1]["compile_note"] == "not compiled: it pays from 3 steps on, and these are 2"
    assert (found[3][1]["compile_note"], found[3][1]["compile_seconds"] > 0) == ("", True)


ALONE = """
from harness.training.compilation import Compiler
import torch
weight = torch.full((3,), 2.0)
compiler = Compiler(10**9)
def step(x):
    return ((x * weight).sin().cumsum(0),)
print("ready", flush=True)
program = compiler.compile(step, torch.ones(3))
weight.fill_(0.0)  # where it lies, not what it was, is part of the program
assert not program(torch.ones(3))[0].any()
print(compiler.programs, compiler.note)
"""


def environment(cache: Path) -> dict[str, str]:
    """Of a process that keeps its programs there, and believes the processor what it can do.

    TorchInductor would compile a program to find out, in every new folder.
    """
    return {**os.environ, "XDG_CACHE_HOME": str(cache), "TORCHINDUCTOR_VEC_ISA_OK": "1"}


def start(cache: Path) -> "subprocess.Popen[str]":
    """A process that compiles a small step."""
    command, variables = [sys.executable, "-c", ALONE], environment(cache)
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)


def said(process: "subprocess.Popen[str]") -> str:
    """What it says of it."""
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return out.splitlines()[1].strip()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that a process was killed in, in mid-compilation."""
    cache = tmp_path_factory.mktemp("killed")
    with start(cache) as process:
        limit = time.monotonic() + 120
        while not list(cache.rglob("*.cpp")):
            assert process.poll() is None, "compiled before it could be killed"
            assert time.monotonic() < limit
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    (folder,) = cache.glob("innbench/compiled/*/*")
    assert (folder / "unfinished").exists()
    return cache


@pytest.fixture(scope="module")
def compiled(killed: Path) -> Path:
    """The same, after another process compiled the same step there."""
    assert said(start(killed)) == "1"
    return killed


def test_a_process_killed_in_mid_compilation_harms_no_other(compiled: Path) -> None:
    (folder,) = compiled.glob("innbench/compiled/*/*")
    assert not (folder / "unfinished").exists()
    assert list(folder.rglob("*.so"))


def test_one_process_at_a_time_compiles_a_program_and_the_next_takes_it(compiled: Path) -> None:
    (folder,) = compiled.glob("innbench/compiled/*/*")
    libraries = {file: file.stat().st_mtime_ns for file in folder.rglob("*.so")}
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(compiled)
        limit = time.monotonic() + 120
        # A line with an arrow is a process that waits.
        while not re.search(rf"-> FLOCK .* {process.pid} ", Path("/proc/locks").read_text()):
            assert process.poll() is None, "did not wait"
            assert time.monotonic() < limit
            time.sleep(0.01)
    assert said(process) == "1"
    assert {file: file.stat().st_mtime_ns for file in libraries} == libraries


def test_truncated_files_leave_the_step_as_it_is_and_are_made_anew(compiled: Path) -> None:
    """What a kill can leave behind: first without a mark that says so, then with it."""
    (folder,) = compiled.glob("innbench/compiled/*/*")
    truncate(folder)
    assert said(start(compiled)).startswith("0 not compiled: ")
    assert (folder / "unfinished").exists()
    truncate(folder)
    assert said(start(compiled)) == "1"
    assert not (folder / "unfinished").exists()


def truncate(folder: Path) -> None:
    programs = [*(folder / "files").rglob("*.py")]
    assert programs
    for file in programs:
        file.write_bytes(b"")


def test_a_cache_that_cannot_be_used_leaves_the_step_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "innbench").write_text("not a folder")
    assert said(start(tmp_path)).startswith("0 not compiled: ")
