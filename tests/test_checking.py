"""The verb ``check``: of what is registered, of one's own, and of what is no such thing."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.bijections.base import BiLipschitz
from harness.bijections.transformers.spline_transformer import RationalQuadraticSpline
from harness.checking import named
from harness.conformance.registered import PARTS
from harness.conformance.suite import conformance, steps
from tests.command import Command
from tests.conformance import assert_passed

OWN = """
from typing import Annotated, Any

import torch
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.residual.residual import Residual
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.registry import Nested, entry

class Negated(ActNorm):
    def _log_det(self, x, log_scale):
        return -super()._log_det(x, log_scale)

def good(shape, generator):
    return LULinear(*shape, generator)

def bad(shape, generator):
    return Negated(*shape)

def images(shape, generator):
    channels, height, width = shape
    return ActNorm(channels)

@entry(version=1, branches=("inverse",))
def iterating(shape, generator, *, width: int = 4):
    return Residual(LipschitzNetwork(*shape, width, 1, 0.5, generator))

@entry(version=1, learns_inverse=True)
def learning(shape, generator):
    return ActNorm(*shape)

@entry(version=1)
def needing(shape, generator, *, width: int):
    return ActNorm(*shape)

@entry(version=1)
def preset(shape, generator, *, preset: int = 4):
    return ActNorm(*shape)

@entry(version=1)
def mistyped(
    shape, generator, *, scale: Annotated[dict[str, Any], Nested("scale_map")] = "sigmoyd"
):
    return ActNorm(*shape)

@entry(version=1, refuses=lambda combination: f"{combination.architecture.name} is never possible")
def refusing(shape, generator):
    return ActNorm(*shape)

@entry(version=1, refuses=lambda combination: combination.no_such)
def stumbling(shape, generator):
    return ActNorm(*shape)

@entry(version=1, refuses=lambda combination: "2" if combination.shape == (2,) else None)
def choosing(shape, generator):
    return ActNorm(*shape)

def linear(shape, generator):
    return torch.nn.Linear(2, 2)

NUMBER = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_flows.py").write_text(OWN)
    (tmp_path / "broken_flows.py").write_text("raise RuntimeError('half written')\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("own_flows", "broken_flows"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("own")
def test_ones_own_factory_passes_and_is_told_what_to_do_next(innbench: Command) -> None:
    said = innbench("check", "own_flows:good")
    assert said.code == 0, said.out
    assert "own_flows:good on the shape 2: " in said.out
    assert "FAIL" not in said.out
    assert "1 of 20 · state: 9 passed" in said.err
    assert said.err.strip().split("\n")[-1].startswith("next: innbench ")


@pytest.mark.usefixtures("own")
def test_what_fails_is_named_and_the_exit_code_is_1(innbench: Command) -> None:
    said = innbench("check", "own_flows:bad", "--shape", "3")
    assert said.code == 1
    assert "FAIL log-det, forward (perturbed weights): the block says" in said.out
    assert "its sign is wrong" in said.out
    assert "on the shape 3: " in said.out


@pytest.mark.usefixtures("own")
def test_as_json(innbench: Command) -> None:
    said = innbench("check", "own_flows:bad", "--json")
    found = json.loads(said.out)
    assert said.code == 1
    assert (found["name"], found["shape"], found["passed"]) == ("own_flows:bad", [2], False)
    (row,) = [
        row
        for row in found["rows"]
        if row["check"] == "log-det, inverse" and row["where"] == "perturbed weights"
    ]
    assert not row["passed"]
    assert row["measured"] > 0.01 > row["allowed"]


@pytest.mark.usefixtures("own")
def test_an_entrys_branches_and_defaults_count(innbench: Command) -> None:
    said = innbench("check", "own_flows:iterating")
    assert said.code == 0, said.out


@pytest.mark.usefixtures("own")
def test_an_entrys_marks_reach_the_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named("own_flows:learning", None).learns_inverse
    assert named("own_flows:iterating", None).branches == ("inverse",)
    assert not named("own_flows:iterating", None).learns_inverse


@pytest.mark.usefixtures("own")
def test_a_shape_that_is_taken_is_found(innbench: Command) -> None:
    assert json.loads(innbench("check", "own_flows:images", "--json").out)["shape"] == [1, 4, 4]


@pytest.mark.usefixtures("own")
def test_a_shape_that_an_entry_refuses_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named("own_flows:choosing", None).shape == (3,)


# A name that an architecture has too is that one's.
ONLY_PARTS = sorted(
    {name for axis in PARTS for name in registry.names(axis)}.difference(
        registry.names("architecture")
    )
)


@pytest.mark.parametrize("name", ONLY_PARTS)
def test_a_part_is_checked_within_an_architecture_that_takes_it(name: str) -> None:
    found = named(name, None)
    # A label leaves out a mixing that is the default.
    assert found.name == "additive" if name == "permutation" else f"={name}" in found.name
    assert math.prod(found.shape) > 2
    assert named(name, "6" if len(found.shape) == 1 else "1,8,8").shape in ((6,), (1, 8, 8))


def test_what_is_checked_of_a_part_depends_on_it(innbench: Command) -> None:
    said = json.loads(innbench("check", "cayley", "--json").out)
    assert said["name"] == "additive(mixing=cayley)"
    assert said["passed"]


def test_a_transformer_conforms() -> None:
    assert_passed(conformance(named("mixture_of_logistics", None)))


def test_a_transformers_bounds_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    right = RationalQuadraticSpline.coupling_bounds_on

    def small(self: RationalQuadraticSpline, *given: Any) -> BiLipschitz:
        return BiLipschitz(*(bound / 20 for bound in right(self, *given)))

    monkeypatch.setattr(RationalQuadraticSpline, "coupling_bounds_on", small)
    subject = named("rational_quadratic_spline", None)
    title = "aligned bounds, small aligned weights"
    (step,) = [step for name, step in steps(subject) if name == title]
    assert not all(row.passed for row in step())


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["afine"], "unknown architecture or part of one 'afine' (a factory of your own: module:"),
        (["afine"], "did you mean 'affine'?"),
        (["softpluss"], "did you mean 'softplus'?"),
        (["softpluss"], " revnet, sigmoid, soft_clip,"),
        (["checkerboard"], "'checkerboard' is a dataset, and check is of architectures and of"),
        (["exp", "--shape", "1"], "exp cannot be built: no architecture takes the scale map 'exp'"),
        (["affine", "--shape", "1"], "affine cannot be built: affine splits its input"),
        (["glow", "--shape", "2"], "glow cannot be built: glow needs images"),
        (["affine", "--shape", "2,x"], "--shape is positive numbers, as in 2 or 1,8,8; got '2,x'"),
        (["no_such_module:f"], "cannot import 'no_such_module': ModuleNotFoundError"),
        (["broken_flows:f"], "cannot import 'broken_flows': RuntimeError: half written"),
        (["own_flows:god"], "own_flows has no 'god'; allowed: Negated, bad, choosing, good,"),
        (["own_flows:god"], "did you mean 'good'?"),
        (["own_flows:NUMBER"], "own_flows:NUMBER is no factory(shape, generator), but int"),
        (["own_flows:needing"], "architecture 'own_flows:needing' needs the parameter 'width'"),
        (["own_flows:preset"], "own_flows:preset is no entry: TypeError: "),
        (["own_flows:mistyped"], "unknown scale map 'sigmoyd'; allowed: "),
        (["own_flows:refusing"], "on the shape (2,): own_flows:refusing is never possible"),
        (["own_flows:stumbling"], "on the shape (2,): AttributeError: "),
        (["own_flows:linear"], "own_flows:linear returns Linear, and not a harness.bijections"),
        (["own_flows:images", "--shape", "2"], "cannot be built on the shape (2,): ValueError"),
    ],
)
def test_bad_input_is_one_sentence(innbench: Command, arguments: list[str], sentence: str) -> None:
    said = innbench("check", *arguments)
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert sentence in said.err
