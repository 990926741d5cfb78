"""What splines and mixtures claim of their derivatives on a box, against autograd at its points."""

import functools
import math

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.autoregressive import autoregressive_bounds
from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.coupling_bounds import shear_norm
from harness.bijections.coupling.networks import convolutional_network, mlp
from harness.bijections.coupling.splits import Halves
from harness.bijections.inverse import Inverse
from harness.bijections.transformers.elementwise import Transformer
from harness.bijections.transformers.elementwise_bounds import Derivatives
from harness.bijections.transformers.mixture_transformer import SPREAD, MixtureOfLogistics
from harness.conformance.bounds import bounds_on_a_box, corners_of, points_of
from harness.conformance.candidate import perturb
from harness.seeding import generator
from tests.conformance import assert_passed
from tests.networks import gaussian

TRANSFORMERS: dict[str, dict[str, object]] = {
    "spline": {"name": "rational_quadratic_spline", "bins": 4},
    "spline of softplus slopes": {
        "name": "rational_quadratic_spline",
        "bins": 5,
        "maximum_slope": None,
    },
    "spline of wide bins": {
        "name": "rational_quadratic_spline",
        "bins": 2,
        "minimum_width": 0.2,
        "minimum_height": 0.1,
    },
    "mixture": {"name": "mixture_of_logistics", "components": 4},
    "mixture of one": {"name": "mixture_of_logistics", "components": 1},
}
every = pytest.mark.parametrize("name", TRANSFORMERS)
NUMBERS = 200
"""Elements, each with parameters and a box of its own."""


@functools.cache
def transformer(name: str) -> Transformer:
    choice = registry.resolve("transformer", TRANSFORMERS[name])
    built: Transformer = registry.build("transformer", choice)
    return built


def boxes(name: str, size: float, radius: float) -> tuple[Box, Box]:
    """Around elements ``(C,)`` and their parameters ``(P·C,)``."""
    count = transformer(name).parameters_per_element * NUMBERS
    x = gaussian(1, (NUMBERS,), 1, scale=2.5)[0]
    h = gaussian(1, (count,), 2, scale=size)[0]
    spread = [gaussian(1, one.shape, 3, scale=radius)[0].abs() for one in (x, h)]
    return tuple(Box(a - b, a + b) for a, b in zip((x, h), spread, strict=True))  # type: ignore[return-value]


def measured(name: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y, ``∂y/∂x`` and ``∂y/∂h`` at points ``(B, C)``, ``(B, P·C)``."""
    x, h = x.requires_grad_(), h.requires_grad_()
    y, _ = transformer(name)(x, h)
    slope, gradient = torch.autograd.grad(y.sum(), (x, h))
    return y.detach(), slope, gradient.reshape(len(x), -1, NUMBERS)


def within(found: Tensor, allowed: Tensor) -> None:
    over = found - allowed * (1 + 1e-9)
    assert not over.isnan().any()
    assert float(over.max()) <= 1e-12


def held(claimed: Derivatives, slope: Tensor, gradient: Tensor) -> None:
    within(slope, claimed.slope.upper)
    within(claimed.slope.lower, slope)
    relative = gradient / slope.unsqueeze(1)
    for rates, limits, kinds in (
        (gradient, claimed.gradient, claimed.gradient_norms),
        (relative, claimed.relative, claimed.relative_norms),
    ):
        within(rates.abs(), limits)
        for one, norm in zip(torch.split(rates, list(claimed.sizes), dim=1), kinds, strict=True):
            within(torch.linalg.vector_norm(one, dim=1), norm)


@every
@pytest.mark.parametrize("size", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("radius", [0.0, 0.01, 0.3, 2.0])
def test_nothing_in_the_box_exceeds_what_is_claimed(name: str, size: float, radius: float) -> None:
    x, h = boxes(name, size, radius)
    claimed = transformer(name).derivatives(x, h)
    assert claimed is not None
    xs, hs = (torch.cat([points_of(one, 24), corners_of(one, 24)]) for one in (x, h))
    y, slope, gradient = measured(name, xs, hs)
    held(claimed, slope, gradient)
    image, preimage = transformer(name).image(x, h), None
    assert image is not None
    within(y, image.upper + 1e-9 * (1 + image.largest))
    within(image.lower - 1e-9 * (1 + image.largest), y)
    preimage = transformer(name).preimage(Box(y.amin(0), y.amax(0)), h)
    assert preimage is not None
    within(xs.detach(), preimage.upper + 1e-9 * (1 + preimage.largest))
    within(preimage.lower - 1e-9 * (1 + preimage.largest), xs.detach())


@every
def test_at_a_point_claims_are_near_what_is_there(name: str) -> None:
    """So that a bound which is always infinite would not pass for one."""
    x, h = boxes(name, 0.5, 0.0)
    claimed = transformer(name).derivatives(x, h)
    assert claimed is not None
    _, slope, gradient = measured(name, x.lower.unsqueeze(0), h.lower.unsqueeze(0))
    assert (claimed.slope.upper / slope).median() < 2.5
    assert (slope / claimed.slope.lower).median() < 4
    norm, limit = gradient.norm(dim=1), claimed.gradient_norms.norm(dim=0)
    assert (limit / norm)[norm > 0].median() < 6
    image = transformer(name).image(x, h)
    assert image is not None
    assert (image.upper - image.lower).max() < 1e-9


def test_where_a_spline_is_the_identity_its_slope_is_known_to_be_one() -> None:
    """Both of the two bounds of a slope would say 2 and 1/2 alone."""
    one = transformer("spline")
    x, h = gaussian(1, (50,))[0], torch.zeros(50 * one.parameters_per_element).double()
    claimed = one.derivatives(Box(x, x), Box(h, h))
    assert claimed is not None
    for end in claimed.slope:
        torch.testing.assert_close(end, torch.ones_like(end))


def test_a_mixture_of_one_is_affine_and_its_slope_exact() -> None:
    x, h = boxes("mixture of one", 1.0, 0.0)
    claimed = transformer("mixture of one").derivatives(x, h)
    assert claimed is not None
    log_scale, _, _, _, log_width = h.lower.reshape(-1, NUMBERS)
    for end in claimed.slope:
        torch.testing.assert_close(end, (log_scale - log_width).exp())


def test_the_least_slope_of_a_mixture_is_reached() -> None:
    """Two alike components at ±2: at 0, ``T' = 1 / cosh²(w/4)`` with w = 4 exactly."""
    one = MixtureOfLogistics(2)
    x, h = torch.zeros(1).double(), torch.zeros(8).double()
    claimed = one.derivatives(Box(x, x), Box(h, h))
    _, log_slope = one(x.unsqueeze(0), h.unsqueeze(0))
    assert float(log_slope.exp()) == pytest.approx(1 / math.cosh(1) ** 2, rel=1e-12)
    assert float(claimed.slope.lower) == pytest.approx(1 / math.cosh(1) ** 2, rel=1e-12)
    # And so is what a weight can do: ``r - q`` of a component is tanh(w/4).
    h = h.unsqueeze(0).requires_grad_()
    (gradient,) = torch.autograd.grad(one(x.unsqueeze(0), h)[0].sum(), h)
    assert gradient[0, 2:4].abs().tolist() == pytest.approx([math.tanh(1)] * 2, rel=1e-12)
    assert claimed.gradient[2:4, 0].tolist() == pytest.approx([math.tanh(1)] * 2, rel=1e-12)


def test_the_spread_of_a_mixture_is_that_of_the_worse_end() -> None:
    """Of two components at 0, one four times as narrow: alike at x = 0, not at 2."""
    one = MixtureOfLogistics(2)
    h = torch.tensor([0, 0, 0, 0, SPREAD, -SPREAD, 0, -math.log(4)]).double()
    for ends in ((0.0, 2.0), (-2.0, 0.0)):
        box = Box(*(torch.tensor([end]).double() for end in ends))
        _, log_slope = one(torch.tensor([[max(ends, key=abs)]]).double(), h.unsqueeze(0))
        assert float(log_slope.exp()) < 1
        assert one.derivatives(box, Box(h, h)).slope.lower <= log_slope.exp()


def test_what_bounds_of_derivatives_say_of_a_coupling() -> None:
    one = torch.ones(2).double()
    norms = torch.tensor([[3.0, 1.0], [4.0, 2.0]]).double()
    claimed = Derivatives(
        Box(0.5 * one, 2 * one), torch.ones(3, 2), torch.ones(3, 2), (1, 2), norms, 2 * norms
    )
    asked = {(None, None): 1.0, (0, 2): 0.5, (2, 6): 0.25}
    apart = claimed.coupling_bounds(lambda outputs: asked[outputs.start, outputs.stop])
    expected = shear_norm(0.5 * 3 + 0.25 * 4, 2), shear_norm(2 * (0.5 * 3 + 0.25 * 4), 2)
    assert apart == pytest.approx(expected)
    asked[0, 2] = asked[2, 6] = 1.0
    together = claimed.coupling_bounds(lambda outputs: asked[outputs.start, outputs.stop])
    assert together == pytest.approx((shear_norm(5, 2), shear_norm(10, 2)))


def test_entries_add_up_over_the_parameters() -> None:
    class Known(Transformer):
        def derivatives(self, x: Box, h: Box) -> Derivatives:
            rates = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
            return Derivatives(Box(x.upper, x.upper), rates, 2 * rates, (2,), rates, rates)

    one = torch.ones(2).double()
    box, sensitivity = Box(one, one), torch.tensor([[0, 0], [5, 0], [0, 0], [7, 0.0]]).double()
    found = autoregressive_bounds.entries(Known(), box, box, sensitivity)
    assert found is not None
    assert found.below.tolist() == [[0, 0], [2 * 5 + 4 * 7, 0]]
    assert found.relative.tolist() == [[0, 0], [2 * (2 * 5 + 4 * 7), 0]]


@every
def test_what_is_lost_bounds_nothing(name: str) -> None:
    x, h = boxes(name, 0.5, 0.1)
    lost = h._replace(upper=torch.full_like(h.upper, math.nan))
    for one, other in ((Box(x.lower, torch.full_like(x.upper, math.nan)), h), (x, lost)):
        claimed = transformer(name).derivatives(one, other)
        assert claimed is not None
        bounds = claimed.coupling_bounds(lambda _: 1.0)
        assert bounds == (math.inf, math.inf)


def _coupling(name: str, context: int = 0) -> Bijection:
    one, source = transformer(name), generator(0, "coupling")
    network = mlp(2 + context, 3 * one.parameters_per_element, 6, 1, source)
    return Coupling(2, one, network, context=context)


def _of_images(name: str) -> Bijection:
    one, source = transformer(name), generator(0, "coupling")
    network = convolutional_network(1, one.parameters_per_element, 3, source)
    return Coupling(Halves(1), one, network)


def _masked(name: str) -> MaskedAutoregressive:
    one, source = transformer(name), generator(0, "masked")
    return MaskedAutoregressive(MaskedNetwork(3, one.parameters_per_element, 8, 1, source), one)


BLOCKS = {
    "coupling": (_coupling, (5,)),
    "coupling of images": (_of_images, (2, 2, 2)),
    "two couplings": (lambda name: Chain([_coupling(name), _coupling(name)]), (5,)),
    "masked": (_masked, (3,)),
    "masked, backwards": (lambda name: Inverse(_masked(name)), (3,)),
}


@pytest.mark.parametrize("name", ["spline of softplus slopes", "mixture"])
@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_are_bounded_on_a_box_only_and_the_bounds_hold(name: str, block: str) -> None:
    make, shape = BLOCKS[block]
    if block == "masked, backwards" and name == "mixture":
        with pytest.raises(ValueError, match="MixtureOfLogistics has not"):
            make(name)
        return
    flow: Bijection = make(name).double()
    perturb(flow, 1, 0.3)
    assert flow.bounds() == (math.inf, math.inf)
    centre = gaussian(1, shape, 4)[0]
    small, large = (Box(centre - radius, centre + radius) for radius in (0.01, 0.5))
    assert max(flow.bounds(small)) < math.inf
    assert flow.image(small) is not None
    assert_passed(bounds_on_a_box(flow, large))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(4)
    assert_passed(bounds_on_a_box(flow, small))
    assert_passed(bounds_on_a_box(flow, large, climb=False))


def test_a_spline_is_bounded_by_the_better_of_both() -> None:
    flow = _coupling("spline").double()
    perturb(flow, 1, 0.3)
    everywhere, centre = flow.bounds(), gaussian(1, (5,))[0]
    near = flow.bounds(Box(centre - 1e-3, centre + 1e-3))
    assert near.forward < everywhere.forward / 10
    assert near.inverse < everywhere.inverse / 1000
    far = flow.bounds(Box(centre - 1e3, centre + 1e3))
    assert far.forward <= everywhere.forward
    assert far.inverse <= everywhere.inverse


def test_a_context_may_move_a_spline_anywhere_and_a_mixture_too() -> None:
    box = Box.of(gaussian(4, (5,)))
    for name, bounded in (("spline", True), ("mixture", False)):
        flow = _coupling(name, context=2).double()
        perturb(flow, 1, 0.3)
        assert (max(flow.bounds(box)) < math.inf) == bounded


def test_entries_are_near_the_jacobian_of_a_small_box() -> None:
    flow = _masked("mixture").double()
    perturb(flow, 1, 0.3)
    x = gaussian(1, (3,))
    box = Box.of(x)
    found = autoregressive_bounds.entries(
        flow.transformer, box, flow.network.image(box), flow.network.sensitivity()
    )
    assert found is not None
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v)[0], x)[0, :, 0]  # type: ignore[no-untyped-call]
    assert (jacobian.tril(-1).abs() <= found.below).all()
    assert ((jacobian.tril(-1) / jacobian.diagonal().unsqueeze(1)).abs() <= found.relative).all()
    assert (found.below.triu() == 0).all()


@pytest.mark.parametrize("end", [math.inf, math.nan])
def test_a_spline_whose_knots_may_be_anywhere_claims_nothing(end: float) -> None:
    """Of what is not known the tails are not all there is."""
    flow = _coupling("spline").double()
    perturb(flow, 0, 1.0)
    shape = (5,)
    box = Box(torch.full(shape, -end).double(), torch.full(shape, 9.0).double())
    bounds, image = flow.bounds(box), flow.image(box)
    everywhere = flow.bounds()
    assert bounds.forward >= everywhere.forward or math.isinf(bounds.forward)
    assert bounds.inverse >= everywhere.inverse or math.isinf(bounds.inverse)
    assert image is not None
    y, _ = flow(gaussian(64, shape))
    outside = (y < image.lower) | (y > image.upper)  # a NaN claims nothing
    assert not outside.any()
