"""Compiled steps against the steps as they are, and the cache after a process was killed in it."""

import fcntl
import json
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
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "innbench" / "compiled"


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
    ("precision", "seeds", "regularizer", "tolerance"),
    [("float64", 2, PENALTY, 1e-9), ("float32", 1, "none", 1e-4)],
)
def test_compiled_training_is_the_training_as_it_is(
    precision: str, seeds: int, regularizer: object, tolerance: float
) -> None:
    compiler = Compiler(ENOUGH)
    ours, together = trained(compiler, precision=precision, seeds=seeds, regularizer=regularizer)
    theirs, apart = trained(None, precision=precision, seeds=seeds, regularizer=regularizer)
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


def test_a_permutation_and_images_are_compiled() -> None:
    compiler = Compiler(ENOUGH)
    ours, _ = trained(compiler, regularizer="none", dataset="digits")
    theirs, _ = trained(None, regularizer="none", dataset="digits")
    assert (compiler.programs, compiler.note) == (1, "")
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


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
    compiler = Compiler(ENOUGH, "inverse")

    def step(x: Tensor) -> tuple[Tensor, ...]:
        return (x.sin(),)

    assert compiler.compile(step, torch.ones(3)) is step
    assert compiler.note == "not compiled: the inverse direction branches on data"
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
    said = innbench("run", str(file), "--inline")
    assert (said.code, sentence in said.err) == (0, True)
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


def alone() -> str:
    """What a process that compiles a small step says of it."""
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[1].strip()


def test_a_process_killed_in_mid_compilation_harms_no_other(cache: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ALONE], stdout=subprocess.PIPE) as process:
        limit = time.monotonic() + 120
        while not list(cache.rglob("*.cpp")):
            assert process.poll() is None, "compiled before it could be killed"
            assert time.monotonic() < limit
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    (folder,) = cache.glob("*/*")
    assert (folder / "unfinished").exists()
    assert alone() == "1"
    assert not (folder / "unfinished").exists()
    libraries = {file: file.stat().st_mtime_ns for file in folder.rglob("*.so")}
    assert libraries
    assert alone() == "1"
    assert {file: file.stat().st_mtime_ns for file in libraries} == libraries  # from the cache
    # What a kill can truncate, with its mark: begun anew.
    truncate(folder)
    (folder / "unfinished").touch()
    assert alone() == "1"
    # Although nothing says so: the step as it is, and sound again for the next.
    truncate(folder)
    assert alone().startswith("0 not compiled: ")
    assert alone() == "1"


def truncate(folder: Path) -> None:
    programs = [*(folder / "files").rglob("*.py")]
    assert programs
    for file in programs:
        file.write_bytes(b"")


def test_one_process_compiles_a_program_at_a_time(cache: Path) -> None:
    assert alone() == "1"
    (folder,) = cache.glob("*/*")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen([sys.executable, "-c", ALONE], stdout=subprocess.PIPE)
        limit = time.monotonic() + 120
        # A line with an arrow is a process that waits.
        while not re.search(rf"-> FLOCK .* {process.pid} ", Path("/proc/locks").read_text()):
            assert process.poll() is None, "did not wait"
            assert time.monotonic() < limit
            time.sleep(0.01)
    out, _ = process.communicate(timeout=120)
    assert out.decode().splitlines()[1].strip() == "1"


def test_a_cache_that_cannot_be_used_leaves_the_step_as_it_is(cache: Path) -> None:
    cache.parent.write_text("not a folder")
    assert alone().startswith("0 not compiled: ")
