"""Anderson acceleration against the plain iteration, to the same residual."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.bijections.residual.anderson import Anderson
from harness.bijections.residual.fixed_point import fixed_point
from harness.seeding import generator


def contraction(kind: str, size: int) -> Any:
    """A matrix of norm 0.9."""
    gaussian = torch.randn(size, size, generator=generator(0, kind), dtype=torch.float64)
    q, _ = torch.linalg.qr(gaussian)
    if kind == "orthogonal":
        return 0.9 * q
    if kind == "symmetric":
        spectrum = torch.linspace(-0.9, 0.9, size, dtype=torch.float64)
        return q @ torch.diag(spectrum) @ q.T
    return 0.9 * gaussian / torch.linalg.matrix_norm(gaussian, ord=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["symmetric", "gaussian", "orthogonal"])
@pytest.mark.parametrize("size", [2, 16])
def test_it_ends_at_the_fixed_point(kind: str, size: int, dtype: torch.dtype) -> None:
    matrix = contraction(kind, size)
    y = torch.randn(64, size, generator=generator(1, kind), dtype=torch.float64)
    expected = torch.linalg.solve(torch.eye(size) + matrix, y.unsqueeze(2)).squeeze(2)
    a = matrix.to(dtype)
    counts = []
    for accelerated in (False, True):
        x, report = fixed_point(lambda x: x @ a.T, y.to(dtype), 1000, accelerated=accelerated)
        assert report.converged.all()
        # The error is at most 1 / (1 - c) times the last step.
        allowed = 200 * torch.finfo(dtype).eps * (1 + expected.abs().max())
        assert (x.double() - expected).abs().max() < allowed
        counts.append(float(report.iterations.double().mean()))
    # Of a spectrum on a circle no method of this kind gains much, once m is below the dimension.
    least = {"symmetric": 3.0, "gaussian": 1.2, "orthogonal": 1.1}[kind] if size > 2 else 4.0
    assert counts[0] > least * counts[1]


def test_no_batch_mate_matters_and_what_is_lost_ends_at_once() -> None:
    a = contraction("symmetric", 8)
    y = torch.randn(20, 8, generator=generator(2, "y"), dtype=torch.float64)
    y[3], y[5] = torch.nan, 0.0

    def g(x: Tensor) -> Tensor:
        return torch.tanh((x.unsqueeze(1) * a).sum(2))  # in one order, whatever the batch

    x, report = fixed_point(g, y, 1000, accelerated=True)
    assert report.converged.tolist() == [number != 3 for number in range(20)]
    assert report.iterations[3] == 1
    assert not x[5].any()
    for number in range(20):
        alone, ended = fixed_point(g, y[number : number + 1], 1000, accelerated=True)
        torch.testing.assert_close(alone[0], x[number], rtol=1e-13, atol=1e-13, equal_nan=True)
        assert abs(int(ended.iterations) - int(report.iterations[number])) <= 2


def test_a_proposal_that_does_not_shrink_the_residual_is_followed_by_a_plain_step() -> None:
    """By a map with a kink: what was learnt on one side of it misleads on the other."""
    visited = []

    def g(x: Tensor) -> Tensor:
        visited.append(x.clone())
        return torch.where(x > 0.5, 0.9 * (x - 0.5), -0.9 * (x - 0.5)) + 0.02 * torch.sin(40 * x)

    y = torch.linspace(-2, 2, 41, dtype=torch.float64).unsqueeze(1)
    x, report = fixed_point(lambda x: 0.5 * g(x), y, 1000, accelerated=True)
    assert report.converged.all()
    torch.testing.assert_close(x + 0.5 * g(x), y, rtol=1e-13, atol=1e-13)


def test_it_is_never_worse_than_two_evaluations_for_a_plain_step() -> None:
    """With proposals that are always wrong."""
    anderson = Anderson()
    anderson._proposal = lambda value, residual: value + 100.0  # type: ignore[method-assign]
    x, least = torch.ones(4, 1, dtype=torch.float64), torch.inf
    for _ in range(50):
        x = anderson.next(x, -0.5 * x)
        least = min(least, float(x.abs().max()))
    assert least <= 0.5**24
