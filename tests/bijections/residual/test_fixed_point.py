"""The fixed-point iteration, on maps whose fixed points are known."""

import math

import pytest
import torch
from torch import Tensor

from harness.bijections.residual.fixed_point import fixed_point

SLOPES = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.95, -0.5], dtype=torch.float64)


def linear(slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs whose first entry names the slope by which the second one is treated; fixed points."""
    slopes = slopes.to(torch.float64)
    y = torch.stack([slopes, torch.ones_like(slopes)], 1)
    return y, torch.stack([slopes, 1 / (1 + slopes)], 1)


def g(x: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(x[:, 0]), x[:, 0] * x[:, 1]], 1)


def test_every_sample_ends_at_its_own_fixed_point_after_its_own_iterations() -> None:
    y, expected = linear(SLOPES)
    x, report = fixed_point(g, y, 10_000)
    torch.testing.assert_close(x, expected, rtol=1e-13, atol=1e-13)
    assert report.converged.all()
    assert report.iterations[0] == 1
    assert report.iterations[1] < report.iterations[2] < report.iterations[3]
    # The error shrinks by the slope a step, from 1 to the tolerance.
    steps = math.log(4 * torch.finfo(y.dtype).eps) / math.log(0.9)
    assert float(report.iterations[3]) == pytest.approx(steps, rel=0.05)
    for number in range(len(y)):
        alone, ended = fixed_point(g, y[number : number + 1], 10_000)
        assert torch.equal(alone[0], x[number])
        assert ended.iterations[0] == report.iterations[number]


def test_parts_are_given_as_many_samples_each() -> None:
    first, last = linear(SLOPES), linear(torch.tensor([0.3, 0.8, 0.2, 0.0, 0.1, 0.6]))
    sizes = []

    def by_part(x: Tensor) -> Tensor:
        one, other = x.view(2, -1, 2)
        sizes.append(len(one))
        return torch.cat([g(one), 2 * g(other) / 2])

    x, report = fixed_point(by_part, torch.cat([first[0], last[0]]), 10_000, parts=2)
    torch.testing.assert_close(x, torch.cat([first[1], last[1]]), rtol=1e-13, atol=1e-13)
    alone = [fixed_point(g, y, 10_000)[1].iterations for y in (first[0], last[0])]
    assert torch.equal(report.iterations, torch.cat(alone))
    assert sizes[0] == 6
    assert sizes[-1] == 1


def test_what_cannot_be_told_apart_is_not_taken_for_the_other_part() -> None:
    """Each part has a map of its own."""
    y, _ = linear(SLOPES)

    def by_part(x: Tensor) -> Tensor:
        one, other = x.view(2, -1, 2)
        return torch.cat([g(one), g(other) / 2])

    x, _ = fixed_point(by_part, torch.cat([y, y]), 10_000, parts=2)
    expected = torch.cat([1 / (1 + SLOPES), 1 / (1 + SLOPES / 2)])
    torch.testing.assert_close(x[:, 1], expected, rtol=1e-13, atol=1e-13)


def test_what_has_ended_is_not_touched_again() -> None:
    calls = []

    def restless(x: Tensor) -> Tensor:
        calls.append(len(x))
        moved = torch.zeros_like(x)
        moved[0] = 0.0 if len(calls) < 3 else len(calls)  # would move again
        moved[1:] = 0.5 * x[1:]
        return moved

    x, report = fixed_point(restless, torch.ones(20, 1, dtype=torch.float64), 100)
    assert x[0] == 1
    assert report.iterations[0] == 1
    assert report.converged.all()


def test_what_is_lost_ends_at_once_and_what_does_not_converge_is_given_up() -> None:
    y, _ = linear(torch.tensor([0.5, torch.nan, 0.999, -2.0]))
    x, report = fixed_point(g, y, 60)
    assert report.converged.tolist() == [True, False, False, False]
    assert report.iterations.tolist()[1:] == [1, 60, 60]
    assert x[1].isnan().any()
    assert 1e-3 < float(report.residual[2]) < 1
