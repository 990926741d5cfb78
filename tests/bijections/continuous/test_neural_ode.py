"""Neural ODEs, against matrix exponentials, torchdiffeq and autograd."""

import itertools
import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness.bijections.box import Box
from harness.bijections.continuous.flow_log_determinant import Hutchinson, Trace
from harness.bijections.continuous.neural_ode import NeuralODE
from harness.bijections.continuous.runge_kutta import METHODS, Method, growth, step
from harness.bijections.continuous.vector_field import VectorField
from harness.bijections.residual.log_determinant import estimates, resample
from harness.conformance.batch import batch_mates
from harness.conformance.bounds import bounds_on_a_box, global_bounds
from harness.conformance.inverse import inverse_jacobian
from harness.conformance.jacobians import jacobians, linearise
from tests.conformance import assert_passed
from tests.networks import gaussian
from tests.vector_fields import ORDERS, field, last, linear_field, matrix, of_one_step

method = pytest.mark.parametrize("method", ORDERS)


@method
def test_a_linear_field_gives_a_polynomial_of_its_matrix(method: str) -> None:
    a, x = matrix(), gaussian(4, (3,))
    flow = NeuralODE(linear_field(a), method, 5, corrections=30).eval()
    expected = torch.linalg.matrix_power(of_one_step(method, a / 5), 5)
    y, log_det = flow(x)
    torch.testing.assert_close(y, x @ expected.T, rtol=1e-12, atol=1e-12)
    right = torch.linalg.slogdet(expected).logabsdet.expand(4)
    torch.testing.assert_close(log_det, right, rtol=1e-12, atol=1e-12)
    back, back_log_det, report = flow.inverse_with_convergence(y)
    torch.testing.assert_close(back, torch.linalg.solve(expected, y.T).T, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(back_log_det, -right, rtol=1e-10, atol=1e-10)
    assert report.converged.all()


@method
def test_the_error_falls_with_the_order_of_the_method(method: str) -> None:
    """Against the matrix exponential: its singular values, and its log-det ``tr A``."""
    a, x = matrix(), gaussian(4, (3,))
    exact, off = torch.linalg.matrix_exp(a), []
    for steps in (16, 32):
        trace = Trace()
        flow = NeuralODE(linear_field(a), method, steps, in_evaluation=trace).eval()
        y, log_det = flow(x)
        torch.testing.assert_close(log_det, a.trace().expand(4), rtol=1e-12, atol=1e-12)
        found = torch.linalg.svdvals(jacobians(flow, x)[0])
        off.append(float((found - torch.linalg.svdvals(exact)).abs().max()))
        back, _, report = flow.inverse_with_convergence(y)
        assert not report.converged.any()
        missed = (back - x).norm(dim=1) / (x.norm(dim=1) + y.norm(dim=1))
        torch.testing.assert_close(report.residual, missed, rtol=0.3, atol=0)
    assert off[0] / off[1] == pytest.approx(2 ** ORDERS[method], rel=0.2)


@pytest.mark.parametrize("method", ["euler", "midpoint"])
def test_steps_are_those_of_torchdiffeq(method: str) -> None:
    f, x = field(), gaussian(4, (3,))
    ours, _ = NeuralODE(f, method, 4)(x)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    torchdiffeq = pytest.importorskip("torchdiffeq")
    theirs = torchdiffeq.odeint(
        lambda t, x: f(float(t), x), x, ends, method=method, options={"step_size": 0.25}
    )
    torch.testing.assert_close(ours, theirs[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("back", [False, True])
def test_value_and_trace_approach_those_of_an_adaptive_solver(back: bool) -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq")
    f, x = field(), gaussian(2, (3,))
    flow = NeuralODE(f, "rk4", 128, in_evaluation=Trace()).eval()
    value, log_det = flow.inverse(x) if back else flow(x)

    def augmented(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        time = float(t.detach())
        found = [jacobians(lambda x: (f(time, x),), one[None])[0].trace() for one in state[0]]
        return f(time, state[0]), torch.stack(found)

    ends = torch.tensor([1.0, 0.0] if back else [0.0, 1.0], dtype=torch.float64)
    start = x, x.new_zeros(2)
    theirs = torchdiffeq.odeint(augmented, start, ends, method="dopri5", rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(value, theirs[0][1], rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(log_det, theirs[1][1], rtol=1e-7, atol=1e-7)


def test_any_table_is_a_method() -> None:
    """torchdiffeq's rk4 is the 3/8 rule; time enters, and each sample may have its own step."""
    third = 1 / 3
    rule = Method(
        (0.0, third, 2 * third, 1.0),
        ((), (third,), (-third, 1.0), (1.0, -1.0, 1.0)),
        (0.125, 0.375, 0.375, 0.125),
    )
    torchdiffeq = pytest.importorskip("torchdiffeq")
    f, x = field(), gaussian(2, (3,))
    sizes = torch.tensor([0.5, 1.0], dtype=torch.float64)
    (ours,) = step(rule, lambda t, state: (f(t, state[0]),), 0 * sizes, sizes, (x,))
    for one, size in enumerate(sizes):
        ends = torch.tensor([0.0, float(size)], dtype=torch.float64)
        theirs = torchdiffeq.odeint(lambda t, x: f(float(t), x), x, ends, method="rk4")
        torch.testing.assert_close(ours[one], theirs[1][one], rtol=1e-12, atol=1e-12)


def test_signs_are_unbiased_and_drawn_only_when_asked() -> None:
    """The mean over all signs of three dimensions is the trace."""
    f, x = field(), gaussian(1, (3,)).expand(8, 3)
    signs = Hutchinson(3, torch.Generator().manual_seed(0), rows=8).double()
    flow = NeuralODE(f, steps=4, in_training=signs, in_evaluation=Trace())
    before = signs.signs.clone()
    assert [name for name, _ in estimates(flow)] == ["in_training.signs"]
    resample(flow, torch.Generator().manual_seed(1))
    assert not torch.equal(signs.signs, before)
    assert signs.signs.abs().eq(1).all()
    every = list(itertools.product([-1.0, 1.0], repeat=3))
    signs.signs.copy_(torch.tensor(every))
    estimated, exact = flow.train()(x)[1], flow.eval()(x)[1]
    torch.testing.assert_close(estimated.mean(), exact.mean(), rtol=1e-12, atol=1e-12)
    assert estimated.std() > 1e-3


def test_the_field_knows_its_jacobian_and_its_lipschitz_constant() -> None:
    f, x, c = field(context=2), 3 * gaussian(64, (3,)), gaussian(64, (2,))
    first = cast(nn.Linear, f.layers[0])
    first.weight.data[:, 3:] *= 100  # time and context add a constant to W_1 x
    value, tangent = f.linearize(0.3, x, c)
    expected = jacobians(lambda x: (f(0.3, x, c),), x)
    found = tangent(torch.eye(3, dtype=torch.float64).expand(64, 3, 3)).mT
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(value, f(0.3, x, c))
    assert torch.linalg.matrix_norm(expected, 2).max() <= f.lipschitz()
    a = matrix()
    moved = linear_field(a)
    last(moved).weight.data[:, -1] = 100.0
    assert moved.lipschitz() == pytest.approx(float(torch.linalg.matrix_norm(a, 2)))


@method
def test_bounds_are_reached(method: str) -> None:
    """By ``f = a x`` forward; back by Euler's steps with a negative a, others bend less."""
    flow = NeuralODE(linear_field(0.9 * torch.eye(2, dtype=torch.float64)), method, 3)
    grown = of_one_step(method, torch.tensor([[0.3]], dtype=torch.float64)).item() ** 3
    assert flow.bounds().forward == pytest.approx(grown, rel=1e-12)
    shrinking = NeuralODE(linear_field(-0.9 * torch.eye(2, dtype=torch.float64)), method, 3)
    smallest = float(jacobians(shrinking, gaussian(1, (2,)))[0, 0, 0])
    bound = shrinking.bounds().inverse
    assert 1 / smallest <= bound * (1 + 1e-12)
    assert method != "euler" or bound == pytest.approx(1 / smallest, rel=1e-12)


def test_bounds_become_those_of_the_flow_with_many_steps() -> None:
    f = linear_field(0.9 * torch.eye(2, dtype=torch.float64))
    for name in METHODS:
        bounds = NeuralODE(f, name, 10_000).bounds()
        assert bounds == pytest.approx((math.exp(0.9), math.exp(0.9)), rel=1e-3)
    assert NeuralODE(f, "euler", 1).bounds().inverse == pytest.approx(10)
    assert NeuralODE(f, "rk4", 1).bounds().inverse == math.inf
    assert growth(METHODS["rk4"], math.inf) == math.inf


@method
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0])
def test_bounds_hold_where_gradient_ascent_leads(method: str, factor: float) -> None:
    f = field()
    with torch.no_grad():
        last(f).weight.mul_(factor)
    flow = NeuralODE(f, method, 12).eval()
    rows = global_bounds(flow, {"near": gaussian(4, (3,)), "far": gaussian(4, (3,), 1, 10.0)})
    assert_passed(rows)
    assert rows[0].measured > 1.2  # there is something to bound
    assert (factor == 4) or rows[1].allowed < math.inf
    x = gaussian(8, (3,))
    assert_passed(bounds_on_a_box(flow, Box.of(x), climb=False))


def test_a_way_back_has_the_log_det_of_its_own_steps() -> None:
    flow, y = NeuralODE(field(size=0.5), "euler", 3).eval(), gaussian(4, (3,))
    x, log_det, report = flow.inverse_with_convergence(y)
    again = flow.inverse(y)
    assert torch.equal(again[0], x)
    assert torch.equal(again[1], log_det)
    expected = torch.linalg.slogdet(jacobians(flow.inverse, y)).logabsdet
    torch.testing.assert_close(log_det, expected, rtol=1e-10, atol=1e-10)
    assert not report.converged.any()


def test_a_correction_finds_the_inverse_of_the_map() -> None:
    f, x = field(size=0.5), gaussian(6, (3,))
    off = []
    for corrections in range(4):
        flow = NeuralODE(f, "midpoint", 4, corrections=corrections).eval()
        back, log_det, report = flow.inverse_with_convergence(flow(x)[0])
        off.append(float((back - x).detach().abs().max()))
        assert report.iterations.max() == 4 + 8 * (corrections + 1)
        assert off[-1] <= 10 * report.residual.max() * (1 + x.abs().max())
        again, _ = flow.inverse(flow(x)[0])
        assert torch.equal(again, back)
        assert log_det.shape == (6,)
    assert all(later < 0.2 * earlier for earlier, later in itertools.pairwise(off))


def test_a_corrected_inverse_has_the_gradient_of_an_inverse() -> None:
    flow = NeuralODE(field(), "midpoint", 2, corrections=20).eval()
    local = linearise(flow, gaussian(4, (3,)))
    assert_passed(inverse_jacobian(flow, local))
    assert_passed(batch_mates(flow, local))
    y, bias = local.y[:1].requires_grad_(), last(flow.field).bias
    assert torch.autograd.gradcheck(lambda y, _: flow.inverse(y), (y, bias))


def test_a_correction_that_leads_away_is_not_taken() -> None:
    """Too few steps for so steep a field: what is given back is no worse than the way back."""
    f, x = field(size=2.0), gaussian(8, (3,))
    plain = NeuralODE(f, "euler", 1)
    y = plain(x)[0]
    _, _, alone = plain.inverse_with_convergence(y)
    _, _, report = NeuralODE(f, "euler", 1, corrections=5).inverse_with_convergence(y)
    assert not alone.converged.any()
    assert (report.residual <= alone.residual).all()


def test_a_context_is_an_input_of_the_field() -> None:
    flow = NeuralODE(field(context=2), steps=4, corrections=8).eval()
    x, c = gaussian(4, (3,)), gaussian(4, (2,), seed=1)
    y, log_det = flow(x, c)
    assert not torch.allclose(y, flow(x, -c)[0])
    back, back_log_det = flow.inverse(y, c)
    torch.testing.assert_close(back, x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(back_log_det, -log_det, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match=r"'context' must be \(batch, 2\), and none was given"):
        flow(x)
    with pytest.raises(ValueError, match=r"not of shape \(4, 3\)"):
        flow(x, x)


@pytest.mark.parametrize("value", [3e38, math.nan, math.inf])
@pytest.mark.parametrize("corrections", [0, 2])
def test_divergence_is_a_result(value: float, corrections: int) -> None:
    f = field()
    with torch.no_grad():
        last(f).weight.fill_(value)
    flow = NeuralODE(f.float(), steps=3, corrections=corrections)
    x = gaussian(4, (3,)).float()
    y, log_det = flow(x)
    back, _, report = flow.inverse_with_convergence(x)
    assert y.shape == back.shape == x.shape
    assert log_det.shape == (4,)
    assert not report.converged.any()
    assert flow.bounds().inverse == math.inf
    again, _ = flow.inverse(x.requires_grad_())
    torch.autograd.grad(again.sum(), x)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: NeuralODE(f, "rk5"), "method must be one of euler, midpoint, rk4, not rk5"),
        (lambda f: NeuralODE(f, steps=0), "steps must be at least 1, not 0"),
        (lambda f: NeuralODE(f, corrections=-1), "corrections must not be negative, not -1"),
    ],
)
def test_bad_arguments_are_told(make: Callable[[VectorField], NeuralODE], said: str) -> None:
    with pytest.raises(ValueError, match=f"neural ODE: {said}"):
        make(field())


@pytest.mark.parametrize(("method", "rate"), [("euler", 7.2), ("midpoint", 15.0), ("rk4", 25.6)])
@pytest.mark.parametrize("corrections", [0, 3])
def test_a_way_back_that_contracts_does_not_converge_by_itself(
    method: str, rate: float, corrections: int
) -> None:
    """It takes every point to nearly one, so that ``G(F(x)) = G(y)`` says nothing of x."""
    flow = NeuralODE(linear_field(rate * torch.eye(2)), method, 8, corrections=corrections).float()
    x = gaussian(16, (2,)).float()
    with torch.no_grad():
        y, _ = flow(x)
        back, _, report = flow.inverse_with_convergence(y)
    off = (back - x).norm(dim=1) / x.norm(dim=1)
    assert not report.converged[off > 1e-3].any()
    assert not (report.residual[off > 1e-3] <= 1e-4).any()
    if not corrections:
        assert (off > 1e-3).any()
