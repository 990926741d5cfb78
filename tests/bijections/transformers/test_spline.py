"""Rational-quadratic splines: values, gradients where masks fail, what their constants bound."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.transformers.spline import Knots, edges, spline, spline_inverse
from harness.bijections.transformers.spline_bounds import flattest, steepest
from harness.bijections.transformers.spline_transformer import RationalQuadraticSpline
from harness.datasets.base import Dataset
from harness.registry import Combination, UnresolvedError
from harness.seeding import generator
from harness.suite.model import Training
from harness.training.batches import Batches
from harness.training.loop import Member, train
from tests import conformance
from tests.networks import gaussian, perturb

Direction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
BINS, BOUND = 8, 3.0
TAME = {"minimum_width": 0.02, "minimum_height": 0.02, "minimum_slope": 0.2, "maximum_slope": 4.0}
VARIANTS = [{}, {"maximum_slope": None}, TAME, {"bins": 2, "bound": 0.5}]
variant = pytest.mark.parametrize("given", VARIANTS, ids=str)
precise = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def transformer(given: dict[str, object]) -> RationalQuadraticSpline:
    choice = registry.resolve("transformer", {"name": "rational_quadratic_spline", **given})
    built = registry.build("transformer", choice)
    assert isinstance(built, RationalQuadraticSpline)
    return built


def directions(of: RationalQuadraticSpline) -> tuple[Direction, Direction]:
    return of, of.inverse


def parameters(of: RationalQuadraticSpline, count: int, scale: float, seed: int = 0) -> Tensor:
    return gaussian(count, (of.parameters_per_element,), seed, scale)


@variant
def test_it_is_the_identity_where_its_parameters_are_zero(given: dict[str, object]) -> None:
    one = transformer(given)
    x = gaussian(50, (2,), scale=2.0)
    y, log_slope = one(x, x.new_zeros(50, 2 * one.parameters_per_element))
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), atol=1e-12, rtol=0)


def test_a_hand_computed_value() -> None:
    """Two bins: up to the middle W = 1, H = 2, δ = 1 and 3; s = 2. At ξ = 1/2 all is rational."""
    table = [[-1.0, 0.0, 1.0], [-1.0, 1.0, 2.0], [1.0, 3.0, 1.0]]
    knots = Knots(*(torch.tensor([row], dtype=torch.float64) for row in table))
    y, log_slope = spline(torch.tensor([-0.5], dtype=torch.float64), knots, 5.0)
    # φ = (2/4 + 1/4) / (2 · 1/2 + 4/4) = 3/8, f' = 4 (3/4 + 4/4 + 1/4) / 2² = 2.
    assert float(y) == pytest.approx(-1 + 2 * 3 / 8)
    assert float(log_slope) == pytest.approx(math.log(2))
    back, inverse_log = spline_inverse(y, knots, 5.0)
    assert (float(back), float(inverse_log)) == pytest.approx((-0.5, -math.log(2)))


@variant
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_log_slopes_are_those_of_autograd_and_the_inverse_inverts(
    given: dict[str, object], scale: float
) -> None:
    one = transformer(given)
    h = parameters(one, 500, scale)
    x = gaussian(500, (1,), 1, scale=2.0).requires_grad_()
    y, log_slope = one(x, h)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-8, atol=0)
    low, high = one.constants.slopes()
    assert (slope >= low * (1 - 1e-9)).all()
    assert (slope <= high * (1 + 1e-9)).all()
    target = y.detach().requires_grad_()
    back, inverse_log = one.inverse(target, h)
    (inverse_slope,) = torch.autograd.grad(back.sum(), target)
    # An error in y of one rounding is one in x of that over the slope.
    assert ((back - x).abs() <= 1e-13 * (1 + 1 / slope)).all()
    torch.testing.assert_close(inverse_slope, inverse_log.exp(), rtol=1e-8, atol=0)
    torch.testing.assert_close(inverse_slope * slope, torch.ones_like(x), rtol=1e-5, atol=0)


def _awkward(one: RationalQuadraticSpline, h: Tensor) -> list[Tensor]:
    """Inputs on knots, beside them, at the ends and far outside, for x and for y."""
    knots = one.knots(h)
    bound = torch.full_like(knots.x[:, :1], one.constants.bound)
    far = [bound * factor for factor in (1, 1 + 1e-6, 3, 1e20)]
    outside = torch.cat([*far, *(-value for value in far)], dim=1)
    found = []
    for along in (knots.x, knots.y):
        beside = [torch.nextafter(along, torch.full_like(along, s)) for s in (-1e9, 1e9)]
        found.append(torch.cat([along, *beside, outside], dim=1).squeeze(2).T)
    return found


@variant
@precise
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 50.0])
def test_values_and_gradients_are_finite_at_knots_at_the_ends_and_far_outside(
    given: dict[str, object], dtype: torch.dtype, scale: float
) -> None:
    one = transformer(given)
    h = parameters(one, 30, scale).to(dtype).requires_grad_()
    with torch.no_grad():
        awkward = _awkward(one, h)
    for inputs, function in zip(awkward, directions(one), strict=True):
        for column in inputs:
            x = column.detach().unsqueeze(1).requires_grad_()
            value, log_slope = function(x, h)
            assert value.dtype == log_slope.dtype == dtype
            total = (value + log_slope).sum()
            for gradient in (value, log_slope, *torch.autograd.grad(total, (x, h))):
                assert gradient.isfinite().all()
            outside = x.abs() >= one.constants.bound
            assert torch.equal(value[outside], x[outside])
            assert (log_slope[outside] == 0).all()
            assert (value.abs()[~outside] <= one.constants.bound * (1 + 1e-5)).all()


@precise
def test_the_inverse_has_the_slope_of_both_sides_where_its_discriminant_is_least(
    dtype: torch.dtype,
) -> None:
    """β = 0 in the middle of a bin of equal slopes: that of the identity is one such."""
    one = transformer({})
    h = torch.zeros(1, one.parameters_per_element, dtype=dtype)
    middle = torch.full((1, 1), BOUND / BINS, dtype=dtype, requires_grad=True)
    value, _ = one.inverse(middle, h)
    (slope,) = torch.autograd.grad(value.sum(), middle)
    assert float(slope) == pytest.approx(1, rel=1e-5)


def test_what_is_not_finite_stays_so_and_raises_nothing() -> None:
    one = transformer({})
    h = parameters(one, 3, 1.0)
    x = torch.tensor([[math.nan], [math.inf], [-math.inf]], dtype=torch.float64)
    for function in directions(one):
        assert torch.equal(function(x, h)[0], x) or function(x, h)[0][0].isnan().all()
        assert torch.equal(function(x, h)[0][1:], x[1:])
        lost, _ = function(x.new_zeros(3, 1), torch.full_like(h, math.nan))
        assert lost.isnan().all()


def test_edges_are_exact_and_no_part_is_below_its_least() -> None:
    parts = edges(50 * gaussian(100, (BINS,)), BOUND, 0.01)
    assert (parts[:, 0] == -BOUND).all()
    assert (parts[:, -1] == BOUND).all()
    assert parts.diff(dim=1).min() == pytest.approx(0.01 * 2 * BOUND)


def test_the_slope_of_a_segment_is_within_its_bounds_which_are_nearly_reached() -> None:
    sizes = torch.logspace(-4, 4, 17, dtype=torch.float64)
    inside = torch.linspace(0, 1, 2001, dtype=torch.float64)
    near = torch.logspace(-7, -1, 400, dtype=torch.float64)
    place = torch.cat([inside, near, 1 - near]) - 0.5
    above, below = [], []
    for left, right in itertools.product(sizes.tolist(), repeat=2):
        for secant in (0.1, 1.0, 3.0):
            rows = [[-0.5, 0.5], [0.0, secant], [left, right]]
            knots = Knots(
                *(torch.tensor([row], dtype=place.dtype).expand(len(place), 2) for row in rows)
            )
            slope = spline(place, knots, 10.0)[1].exp()
            above.append(float(slope.max()) / steepest(left, right, secant))
            below.append(float(slope.min()) / flattest(left, right, secant))
    assert max(above) <= 1 + 1e-12
    assert min(below) >= 1 - 1e-12
    assert sum(ratio > 0.999 for ratio in above) > len(above) / 2
    # Both slopes at 1e-4, the secant 1: twice the secant; and far above it: secant² / sum.
    assert min(above) > 0.5
    assert max(below) < 4.01


@pytest.mark.parametrize("given", [{}, TAME, {"bins": 2, "bound": 0.5}], ids=str)
def test_no_parameter_moves_a_value_more_than_the_constants_allow(
    given: dict[str, object],
) -> None:
    one = transformer(given)
    limits = one.constants.parameter_gradients()
    h = torch.cat([parameters(one, 4000, scale) for scale in (1.0, 4.0, 10.0)]).requires_grad_()
    uniform = torch.rand(len(h), 1, generator=generator(1, "x")).double()
    x = (2 * uniform - 1) * one.constants.bound
    inputs = x, one(x, h)[0].detach()
    for function, given_to, limit in zip(directions(one), inputs, limits, strict=True):
        (gradient,) = torch.autograd.grad(function(given_to, h)[0].sum(), h)
        largest = float(torch.linalg.vector_norm(gradient, dim=1).max())
        assert largest <= limit
        assert largest > 0.1 * limit or given  # not a bound that anything would keep


def _coupling(given: dict[str, object], seed: int) -> Coupling:
    one = transformer(given)
    conditioner = mlp(2, 2 * one.parameters_per_element, 8, 1, generator(seed, "spline"))
    return Coupling(2, one, conditioner).double()


def singular_values(flow: Bijection, x: Tensor) -> Tensor:
    values: Tensor = torch.linalg.svdvals(
        torch.vmap(torch.func.jacrev(lambda v: flow(v[None])[0][0]))(x)
    )
    return values if x.requires_grad else values.detach()


def _climbed(flow: Bijection, x: Tensor, steps: int = 25) -> Tensor:
    """Points of large σ_max and of small σ_min, by gradient ascent from x."""
    found = [x]
    for sign, which in ((1, 0), (-1, -1)):
        points = x.clone().requires_grad_()
        optimizer = torch.optim.Adam([points], lr=0.05)
        for _ in range(steps):
            climbed = sign * singular_values(flow, points)[:, which].log().sum()
            (points.grad,) = torch.autograd.grad(-climbed, points)
            optimizer.step()
        found.append(points.detach())
    return torch.cat(found)


@pytest.mark.parametrize("given", [{}, TAME], ids=str)
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0])
def test_bounds_of_a_coupling_hold_where_singular_values_are_worst(
    given: dict[str, object], factor: float
) -> None:
    coupling = _coupling(given, 0)
    start = coupling.bounds()
    assert start == pytest.approx(_of_constants(coupling))
    perturb(coupling, 0, 0.5)
    with torch.no_grad():
        for parameter in coupling.parameters():
            parameter.mul_(factor)
    x = torch.cat([gaussian(20, (4,), 1), gaussian(10, (4,), 2, scale=30.0)])
    x = _climbed(coupling, x)
    bounds = coupling.bounds()
    values = singular_values(coupling, x)
    assert 1.5 < float(values.max()) <= bounds.forward < math.inf
    assert 1.5 < float(1 / values.min()) <= bounds.inverse < math.inf
    single = singular_values(coupling.float(), x.float())
    assert float(single.max()) <= bounds.forward
    assert float(1 / single.min()) <= bounds.inverse


def _of_constants(coupling: Coupling) -> tuple[float, float]:
    """At the start the conditioner is constant: only the slopes themselves are left."""
    assert isinstance(coupling.transformer, RationalQuadraticSpline)
    low, high = coupling.transformer.constants.slopes()
    return high, 1 / low


def test_the_papers_softplus_has_no_bound() -> None:
    coupling = _coupling({"maximum_slope": None}, 0)
    assert coupling.bounds() == (math.inf, math.inf)
    perturb(coupling, 0)
    assert coupling.bounds() == (math.inf, math.inf)


def test_bounds_hold_after_training_and_off_the_data() -> None:
    dataset: Dataset = registry.build("dataset", registry.resolve("dataset", "eight_gaussians"))
    choice = registry.resolve(
        "architecture", {"name": "neural_spline_flow", "couplings": 2, "width": 16, **TAME}
    )
    flow: Bijection = registry.build("architecture", choice, dataset.shape, generator(0, "t"))
    settings = Training(steps=200, batch_size=64, learning_rate=5e-3)
    none = registry.build("regularizer", registry.resolve("regularizer", "none"))
    task = registry.build("task", registry.resolve("task", "density"))
    batches = Batches(dataset, dataset.read().train, 64, [0])
    (result,) = train([Member(flow, settings, none, 0)], task, batches)
    assert result.status == "ok"
    flow = flow.double().eval()
    near = dataset.prepare(dataset.read().test[:10], generator(0, "x")).double()
    x = _climbed(flow, torch.cat([near, 20 * near]), steps=20)
    values, bounds = singular_values(flow, x), flow.bounds()
    assert float(values.max()) <= bounds.forward < math.inf
    assert float(1 / values.min()) <= bounds.inverse < math.inf
    conformance.check_log_det(flow, x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bins": 100, "minimum_width": 0.01}, "100 bins do not fit: minimum_width 0.01"),
        ({"bins": 100, "minimum_height": 0.01}, "100 bins do not fit: minimum_height 0.01"),
    ],
)
def test_constants_that_do_not_fit_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transformer(given)


@pytest.mark.parametrize("given", [{"maximum_slope": 1.0}, {"minimum_slope": 1.0}, {"bins": 1}])
def test_constants_out_of_range_are_told_by_name(given: dict[str, object]) -> None:
    with pytest.raises(UnresolvedError, match=next(iter(given))):
        transformer(given)


def test_slopes_must_hold_that_of_the_tails() -> None:
    with pytest.raises(ValueError, match="maximum_slope must be above 1"):
        RationalQuadraticSpline(
            bins=4,
            bound=1.0,
            minimum_width=0.01,
            minimum_height=0.01,
            minimum_slope=0.1,
            maximum_slope=0.5,
        )


@pytest.mark.parametrize(
    ("architecture", "shape", "message"),
    [
        ({"name": "neural_spline_flow"}, (1,), "at least 2 dimensions, not 1"),
        ({"name": "flow_plus_plus"}, (1, 1, 1), "at least 2 dimensions, not 1"),
        (
            {"name": "neural_spline_flow", "bins": 200, "minimum_width": 0.01},
            (2,),
            "200 bins do not fit",
        ),
        ({"name": "neural_spline_flow", "bins": 200}, (2,), None),
    ],
    ids=str,
)
def test_an_architecture_is_refused_before_it_is_built(
    architecture: dict[str, object], shape: tuple[int, ...], message: str | None
) -> None:
    choice = registry.resolve("architecture", architecture)
    refuses = registry.get("architecture", choice.name).refuses
    assert refuses is not None
    density, none = registry.resolve("task", "density"), registry.resolve("regularizer", "none")
    dataset = registry.resolve("dataset", "checkerboard")
    refused = refuses(Combination(density, choice, none, dataset, shape))
    assert (refused is None) == (message is None)
    assert message is None or message in str(refused)
