"""Each planted fault makes the suite fail, in a line that names it."""

import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.conformance.candidate import Candidate
from harness.conformance.packs import packability
from harness.conformance.row import Row
from harness.conformance.suite import conformance, steps
from harness.registry import Shape
from harness.registry.entry import Direction
from tests.conformance import assert_passed
from tests.conformance_suite.faults import FAULTS, right
from tests.conformance_suite.frame import Factory


def candidate(factory: Factory, branches: tuple[Direction, ...] = ()) -> Candidate:
    return Candidate("planted", (2,), partial(factory, (2,)), branches)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str) -> None:
    factory, check, sentence = FAULTS[fault]
    told: list[str] = []
    for _, step in steps(candidate(factory)):
        failed = [row for row in step() if not row.passed]
        told += [row.sentence for row in failed]
        if any(row.check == check and re.search(sentence, row.sentence) for row in failed):
            return
    pytest.fail("\n".join(["not named among:", *told]))


def test_nothing_is_found_where_nothing_is_planted() -> None:
    assert_passed(conformance(candidate(right, ("inverse",))))


def test_what_raises_fails_its_check_and_the_others_go_on() -> None:
    class Raising(ActNorm):
        def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            raise RuntimeError("no way back")

    rows = conformance(candidate(lambda shape, generator: Raising(2)))
    broken = [row for row in rows if not row.passed]
    assert any(
        "inverse raised RuntimeError: no way back, at test_faults.py" in r.sentence for r in broken
    )
    assert any(row.passed and row.check == "bound, forward" for row in rows)


def test_a_wrong_shape_is_told_before_anything_stumbles_over_it() -> None:
    class Summed(ActNorm):
        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            y, log_det = super().forward(x)
            return y, log_det.sum()

    rows = conformance(candidate(lambda shape, generator: Summed(2)))
    told = next(row for row in rows if row.check == "shapes")
    assert not told.passed
    assert "the log-det of F has the shape ()" in told.sentence


def test_the_global_generator_is_noticed() -> None:
    class Global(ActNorm):
        def __init__(self) -> None:
            super().__init__(2)
            torch.nn.init.normal_(self.bias)

    rows = conformance(candidate(lambda shape, generator: Global()))
    (row,) = [row for row in rows if row.check == "only the given generator is read"]
    assert not row.passed
    assert "decides bias" in row.detail


def test_a_parameter_without_effect_is_named() -> None:
    class Idle(ActNorm):
        def __init__(self) -> None:
            super().__init__(2)
            self.idle = torch.nn.Parameter(torch.ones(3))

    rows = conformance(candidate(lambda shape, generator: Idle()))
    (row,) = [row for row in rows if row.check == "every parameter moves something"]
    assert "do not depend on idle" in row.detail


def test_an_undeclared_branch_is_told_what_to_declare() -> None:
    def undeclared(shape: Shape, generator: torch.Generator) -> Bijection:
        return Residual(LipschitzNetwork(2, 8, 1, 0.5, generator))

    _, row = packability(candidate(undeclared), torch.ones(3, 2).double())
    assert not row.passed
    assert 'mark the factory @entry(version=1, branches=("inverse",))' in row.detail
    assert "operators that can output dynamic shape" in row.detail
    assert "http" not in row.detail
    assert "please" not in row.detail.lower()


def test_an_inverse_that_says_it_did_not_converge_is_held_to_its_residual() -> None:
    rows = conformance(candidate(_short, ("inverse",)))
    assert {row.check for row in rows if not row.passed} == {"the inverse converges"}
    told = [row for row in rows if row.check == "convergence is reported"]
    assert all(row.measured == 1 for row in told)


def test_an_inverse_that_never_converges_is_named() -> None:
    (row,) = [row for row in _as_built(_short) if row.check == "the inverse converges"]
    assert not row.passed
    assert "6 of 6 inverses at well-conditioned inputs say that they did not" in row.detail


def test_a_learned_inverse_need_not_converge() -> None:
    assert all(row.passed for row in _as_built(_short, learns_inverse=True))


def _short(shape: Shape, generator: torch.Generator) -> Bijection:
    return Residual(LipschitzNetwork(2, 8, 1, 0.9, generator), maximum_iterations=8)


def _as_built(factory: Factory, *, learns_inverse: bool = False) -> list[Row]:
    chosen = replace(candidate(factory, ("inverse",)), learns_inverse=learns_inverse)
    return [row for name, step in steps(chosen) if "as built" in name for row in step()]
