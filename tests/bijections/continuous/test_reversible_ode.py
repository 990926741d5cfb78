"""The coupled pair of a reversible solver, against matrices and against the flow it follows."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.continuous.neural_ode import NeuralODE
from harness.bijections.continuous.reversible_ode import ReversibleODE
from harness.bijections.continuous.vector_field import VectorField
from harness.conformance.bounds import global_bounds
from harness.conformance.jacobians import jacobians
from harness.seeding import generator
from tests.conformance import assert_passed
from tests.networks import gaussian
from tests.vector_fields import ORDERS, field, last, linear_field, matrix, of_one_step

method = pytest.mark.parametrize("method", ORDERS)


def scalar(value: float) -> VectorField:
    return linear_field(torch.tensor([[value]], dtype=torch.float64))


@method
def test_a_linear_field_gives_the_two_lines_as_matrices(method: str) -> None:
    a, eye, x = matrix(), torch.eye(3, dtype=torch.float64), gaussian(4, (6,))
    there, back = (of_one_step(method, sign * a / 4) - eye for sign in (1, -1))
    first = torch.cat([torch.cat([0.8 * eye, 0.2 * eye + there], 1), torch.cat([0 * eye, eye], 1)])
    second = torch.cat([torch.cat([eye, 0 * eye], 1), torch.cat([-back, eye], 1)])
    expected = torch.linalg.matrix_power(second @ first, 4)
    flow = ReversibleODE(linear_field(a), method, 4, coupling=0.8)
    y, log_det = flow(x)
    torch.testing.assert_close(y, x @ expected.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(expected).logabsdet.expand(4))
    back_again, back_log_det = flow.inverse(y)
    torch.testing.assert_close(back_again, x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(back_log_det, -log_det)


@method
def test_a_pair_of_copies_follows_the_flow(method: str) -> None:
    """To the order of the method, which does not fall."""
    x, f, off = gaussian(4, (3,)), field(), []
    exact, _ = NeuralODE(f, "rk4", 200)(x)
    for steps in (16, 32):
        pair, _ = ReversibleODE(f, method, steps)(torch.cat([x, x], dim=1))
        off.append(float((pair[:, :3] - exact).detach().abs().max()))
    assert off[0] / off[1] > 0.8 * 2 ** ORDERS[method]
    assert off[1] < 0.03


def test_the_inverse_is_exact_where_a_way_back_is_not() -> None:
    f, x = field(size=0.7), gaussian(16, (6,))
    flow = ReversibleODE(f, "euler", 3)
    back, _, report = flow.inverse_with_convergence(flow(x)[0])
    torch.testing.assert_close(back, x, rtol=1e-11, atol=1e-11)
    assert not report.iterations.any()
    plain = NeuralODE(f, "euler", 3)
    missed = plain.inverse(plain(x[:, :3])[0])[0] - x[:, :3]
    assert missed.abs().max() > 0.1


def test_bounds_are_reached() -> None:
    """By Euler's steps of ``f = a x`` on two dimensions, with what makes all signs agree."""
    x = gaussian(1, (2,))
    for value, coupling, end in ((0.9, 0.7, "forward"), (-0.9, 1.0, "inverse")):
        flow = ReversibleODE(scalar(value), "euler", 3, coupling)
        values = torch.linalg.svdvals(jacobians(flow, x)[0])
        reached = values[0] if end == "forward" else 1 / values[-1]
        assert getattr(flow.bounds(), end) == pytest.approx(float(reached), rel=1e-12)


def test_the_inverse_grows_with_each_step_that_forgets() -> None:
    """``λ^-N``: y forgets by λ a step."""
    flow = ReversibleODE(scalar(0.0), "euler", 20, coupling=0.5)
    (values,) = torch.linalg.svdvals(jacobians(flow, gaussian(1, (2,))))
    assert 1 / values[-1] > 2.0**20
    assert 1 / float(values[-1]) <= flow.bounds().inverse * (1 + 1e-9) < 2.0**21


@method
@pytest.mark.parametrize("factor", [1.0, 4.0])
@pytest.mark.parametrize("coupling", [0.8, 1.0])
def test_bounds_hold_where_gradient_ascent_leads(
    method: str, factor: float, coupling: float
) -> None:
    f = field(2, size=0.4)
    with torch.no_grad():
        last(f).weight.mul_(factor)
    flow = ReversibleODE(f, method, 4, coupling)
    rows = global_bounds(flow, {"near": gaussian(4, (4,)), "far": gaussian(4, (4,), 1, 10.0)})
    assert_passed(rows)
    assert all(row.measured > 1.2 and row.allowed < math.inf for row in rows)


@pytest.mark.parametrize("value", [3e38, math.nan, math.inf])
def test_divergence_is_a_result(value: float) -> None:
    f = field()
    with torch.no_grad():
        last(f).weight.fill_(value)
    flow = ReversibleODE(f.float())
    x = gaussian(4, (6,)).float()
    assert flow(x)[0].shape == flow.inverse(x)[0].shape == x.shape
    assert flow.bounds() == (math.inf, math.inf)


def test_a_context_is_an_input_of_the_field() -> None:
    flow = ReversibleODE(field(context=2))
    x, c = gaussian(4, (6,)), gaussian(4, (2,), seed=1)
    y, _ = flow(x, c)
    assert not torch.allclose(y, flow(x, -c)[0])
    torch.testing.assert_close(flow.inverse(y, c)[0], x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: ReversibleODE(f, "rk5"), "method must be one of euler, midpoint, rk4, not rk5"),
        (lambda f: ReversibleODE(f, steps=0), "steps must be at least 1, not 0"),
        (lambda f: ReversibleODE(f, coupling=0.0), r"coupling must be in \(0, 1\], not 0.0"),
        (lambda f: ReversibleODE(f, coupling=1.1), r"coupling must be in \(0, 1\], not 1.1"),
        (
            lambda f: ReversibleODE(f)(gaussian(1, (5,))),
            r"the input must be \(batch, 6\), not of shape \(1, 5\)",
        ),
    ],
)
def test_bad_arguments_are_told(make: Callable[[VectorField], Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=f"reversible ODE: {said}"):
        make(field())


def test_an_odd_dimension_is_refused() -> None:
    chosen = registry.resolve("architecture", "reversible_ode")
    with pytest.raises(ValueError, match="needs an even dimension, not 5"):
        registry.build("architecture", chosen, (5,), generator(0, "test"))
