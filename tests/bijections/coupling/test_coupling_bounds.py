"""Bounds of couplings on a box, against what is measured in it and at the worst points found."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.coupling_bounds import shear_norm
from harness.bijections.coupling.networks import Conditioner, convolutional_network, linear, mlp
from harness.bijections.coupling.residual_mlp import ResidualMLP
from harness.bijections.coupling.splits import Alternating, Checkerboard, Halves, Split
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.scale_maps.exponentials import Exponential
from harness.bijections.transformers.elementwise import Affine, Order, Transformer
from harness.registry import Shape
from harness.seeding import generator
from tests.bijections.test_scale_maps import MAPS
from tests.networks import gaussian, perturb


def _transformer(given: object) -> Transformer:
    found: Transformer = registry.build("transformer", registry.resolve("transformer", given))
    return found


def _coupling(
    given: object, split: Split | None = None, network: Any = mlp, *, swap: bool = False
) -> Coupling:
    split, source, elementwise = split or Halves(2), generator(0, "coupling"), _transformer(given)
    kept, changed = reversed(split.channels(5)) if swap else split.channels(5)
    outputs = elementwise.parameters_per_element * changed
    return Coupling(split, elementwise, network(kept, outputs, 6, 2, source), swap=swap)


def _of_images(given: object, split: Split, channels: int) -> Coupling:
    elementwise, (kept, changed) = _transformer(given), split.channels(channels)
    outputs = elementwise.parameters_per_element * changed
    network = convolutional_network(kept, outputs, 3, generator(0, "coupling"))
    return Coupling(split, elementwise, network)


AFFINE: list[dict[str, object]] = [
    {"name": name, "scale": scale, "order": order}
    for name, scales in (("affine", MAPS), ("volume_preserving", ["exp", "sigmoid", "softplus"]))
    for scale in scales
    for order in ("scale_first", "shift_first")
]
SHIFT_FIRST = {"name": "affine", "order": "shift_first"}
CASES: dict[str, tuple[Callable[[], Bijection], Shape]] = {
    **{
        f"{given['name']} {given['scale']} {given['order']}": (
            functools.partial(_coupling, given),
            (5,),
        )
        for given in AFFINE
    },
    "additive": (lambda: _coupling("additive"), (5,)),
    "additive, alternating": (lambda: _coupling("additive", Alternating(), swap=True), (5,)),
    "swap": (lambda: _coupling("affine", swap=True), (5,)),
    "alternating": (lambda: _coupling(SHIFT_FIRST, Alternating()), (5,)),
    "residual conditioner": (lambda: _coupling("affine", network=ResidualMLP), (5,)),
    "residual conditioner, shift first": (
        lambda: _coupling(SHIFT_FIRST, network=ResidualMLP),
        (5,),
    ),
    "volume, alternating": (lambda: _coupling("volume_preserving", Alternating()), (5,)),
    "image": (lambda: _of_images("affine", Halves(1), 2), (2, 2, 4)),
    "image, shift first": (lambda: _of_images(SHIFT_FIRST, Halves(1), 2), (2, 2, 4)),
    "image, volume": (lambda: _of_images("volume_preserving", Halves(1), 4), (4, 2, 2)),
    "checkerboard": (lambda: _of_images("affine", Checkerboard(), 1), (1, 4, 4)),
    "checkerboard, volume": (lambda: _of_images("volume_preserving", Checkerboard(), 2), (2, 2, 4)),
    "chain": (
        lambda: Chain(
            [
                ActNorm(5),
                _coupling("affine"),
                LULinear(5, generator(1, "lu")),
                _coupling(SHIFT_FIRST, Alternating(), swap=True),
            ]
        ),
        (5,),
    ),
}


def singular_values(flow: Bijection, x: Tensor) -> Tensor:
    """``(B, D)``, differentiable by x, in x's precision but for the decomposition."""

    def flat(sample: Tensor) -> Tensor:
        return flow(sample.reshape(1, *x.shape[1:]))[0].flatten()  # type: ignore[no-any-return]

    jacobians = torch.func.vmap(torch.func.jacrev(flat))(x.flatten(1))
    values: Tensor = torch.linalg.svdvals(jacobians.double())
    return values


def extremes(flow: Bijection, x: Tensor) -> tuple[float, float]:
    """The largest σ_max, and 1/σ_min where float64 resolves it; 0 where it does so nowhere.

    Below ``D ε σ_max``, ε of x's dtype, σ_min is rounding: one machine's LAPACK has some number,
    another's 0.
    """
    values = singular_values(flow, x).detach()
    least = values.shape[1] * torch.finfo(x.dtype).eps * values[:, 0]
    resolved = values[values[:, -1] > least, -1]
    return float(values[:, 0].max()), float(1 / resolved.min()) if len(resolved) else 0.0


def climbed(flow: Bijection, box: Box, x: Tensor, steps: int = 12) -> Tensor:
    """Points of the box where σ_max, and others where 1/σ_min, has been pushed up from x."""
    found = []
    for end in (0, -1):
        point = x.clone()
        for step in range(steps):
            point.requires_grad_()
            target = singular_values(flow, point)[:, end].log().sum() * (1 if end == 0 else -1)
            (uphill,) = torch.autograd.grad(target, point)
            with torch.no_grad():
                length = (box.upper - box.lower) * 0.3 * (1 - step / steps)
                point = point + length * uphill.sign()
                point = torch.maximum(torch.minimum(point, box.upper), box.lower)
        found.append(point.detach())
    return torch.cat(found)


def inside(box: Box, count: int, seed: int = 0) -> Tensor:
    """Points of the box, half of them corners."""
    places = torch.rand(count, *box.lower.shape, generator=generator(seed, "inside")).double()
    places[: count // 2].round_()
    return box.lower + places * (box.upper - box.lower)


def grown(module: nn.Module, factor: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor)


def check(flow: Bijection, box: Box, x: Tensor, room: float = 1e-9) -> tuple[float, float]:
    """That nothing measured exceeds what is claimed; how near it comes."""
    points = torch.cat([x, climbed(flow, box, x)])
    bounds = flow.bounds(box)
    forward, inverse = extremes(flow, points)
    assert forward <= bounds.forward * (1 + room)
    assert inverse <= bounds.inverse * (1 + room)
    # Of a chain there may be nothing to hold it to.
    assert inverse > 0 or isinstance(flow, Chain)
    assert bounds.forward >= 1
    image = flow.image(box)
    assert image is not None
    y = flow(points)[0].detach()
    slack = room * (1 + image.largest)
    assert (y >= image.lower - slack).all()
    assert (y <= image.upper + slack).all()
    return forward / bounds.forward, inverse / bounds.inverse


@pytest.mark.parametrize("case", CASES)
def test_nothing_in_the_box_exceeds_its_bounds(case: str) -> None:
    make, shape = CASES[case]
    flow = make().double()
    perturb(flow, 1, 0.2)
    for number, factor in enumerate((1.0, 2.0, 2.0)):  # of a chain also what is multiplied grows
        grown(flow, factor)
        centre = gaussian(1, shape, seed=number)[0]
        for radius in (0.1, 3.0):
            box = Box(centre - radius, centre + radius)
            bounds = flow.bounds(box)
            # Where g may vanish within rounding there is no number; elsewhere there is one.
            if case != "chain" and radius < 1:
                assert math.isfinite(bounds.forward)
                assert math.isfinite(bounds.inverse)
            check(flow, box, inside(box, 6, seed=number))


@pytest.mark.parametrize("case", ["affine sigmoid scale_first", "volume, alternating", "image"])
def test_in_float32_too(case: str) -> None:
    make, shape = CASES[case]
    flow = make()
    perturb(flow, 2, 0.3)
    box = Box.of(gaussian(4, shape))
    bounds = flow.bounds(box)
    forward, inverse = extremes(flow, inside(box, 64).float())
    assert forward <= bounds.forward * (1 + 1e-5)
    assert inverse <= bounds.inverse * (1 + 1e-5)


@pytest.mark.parametrize("name", ["affine", "volume_preserving"])
@pytest.mark.parametrize("order", ["scale_first", "shift_first"])
def test_after_training(name: str, order: str) -> None:
    """200 steps towards a ring, in the box of its data and in one twice as wide."""
    given = {"name": name, "scale": "sigmoid", "order": order}
    flow = Chain([_coupling(given, Halves(2)), _coupling(given, Halves(2), swap=True)]).double()
    data = nn.functional.normalize(gaussian(128, (5,)), dim=1) + 0.1 * gaussian(128, (5,), seed=1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(200):
        z, log_det = flow(data)
        loss = (z.square().sum(1) / 2 - log_det).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    box = Box.of(data)
    for wide in (box, Box(2 * box.lower, 2 * box.upper)):
        check(flow, wide, torch.cat([data[:4], inside(wide, 8)]))


@pytest.mark.parametrize("order", ["scale_first", "shift_first"])
def test_bounds_are_reached_where_all_that_is_bounded_is_extreme_at_once(order: Order) -> None:
    """``y₂ = (x₂ + b x₁) e^(a x₁)`` in one dimension each: a small box around a point is tight."""
    network = linear(1, 2, generator(0, "c"))
    coupling = Coupling(1, Affine(Exponential(), order), Conditioner([network])).double()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.7], [1.3]]))
        network.bias.zero_()
    point = torch.tensor([[0.4, 2.0]], dtype=torch.float64)
    box = Box(point[0] - 1e-9, point[0] + 1e-9)
    reached = check(coupling, box, point)
    assert reached == pytest.approx((1, 1), rel=1e-6)
    gain, slope = math.exp(0.28), 0.7
    moved = 2.0 + (1.3 * 0.4 if order == "shift_first" else 0.0)
    cross = moved * slope * gain + 1.3 * (gain if order == "shift_first" else 1)
    by_hand = torch.tensor([[1, 0], [cross, gain]], dtype=torch.float64)
    expected = torch.linalg.svdvals(by_hand)
    assert coupling.bounds(box) == pytest.approx((expected[0].item(), 1 / expected[1].item()))


def test_of_the_papers_formulas_none_is_sharper() -> None:
    """``max(1, sup g) + sup |x₂| sup |g'| Lip(s) + Lip(t)``, arXiv 2006.09347; and its inverse."""
    coupling = _coupling({"name": "affine", "scale": "bounded_sigmoid"}).double()
    perturb(coupling, 1, 0.5)
    box = Box.of(gaussian(20, (5,)))
    conditioner: Conditioner = coupling.conditioner  # type: ignore[assignment]
    of_scale, of_shift = conditioner.lipschitz(slice(3)), conditioner.lipschitz(slice(3, None))
    assert max(of_scale, of_shift) <= conditioner.lipschitz()
    cross = float(box.largest[2:].max()) * 0.125 * of_scale + of_shift
    forward, inverse = coupling.bounds(box)
    assert forward <= 1 + cross
    assert inverse <= 2 + 2 * cross


def test_a_growing_box_has_no_smaller_bounds() -> None:
    coupling = _coupling("affine").double()
    perturb(coupling, 1, 0.3)
    centre = gaussian(1, (5,))[0]
    bounds = [coupling.bounds(Box(centre - r, centre + r)) for r in (0.1, 1.0, 10.0, 1000.0)]
    assert bounds == sorted(bounds)
    assert all(a.inverse <= b.inverse for a, b in itertools.pairwise(bounds))
    assert coupling.bounds() == (math.inf, math.inf)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("case", CASES)
def test_lost_weights_or_inputs_bound_nothing(case: str, value: float) -> None:
    make, shape = CASES[case]
    flow = make().double()
    perturb(flow, 0)
    box = Box.of(gaussian(3, shape))
    lost = Box(box.lower, torch.full_like(box.upper, value))
    image = flow.image(lost)
    if isinstance(flow, Coupling):  # anything, not nothing
        assert image is not None
        assert not any(end.isnan().any() for end in image)
    bounds = flow.bounds(lost)
    assert not math.isnan(bounds.forward)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.fill_(value)
    assert not flow.bounds(box).forward < math.inf
    flow.image(box)


@pytest.mark.parametrize("case", ["scale_first", "shift_first", "additive", "volume"])
def test_conditional_couplings_are_bounded_for_every_context(case: str) -> None:
    given: object = {"additive": "additive", "volume": "volume_preserving"}.get(
        case, {"name": "affine", "scale": "bounded_sigmoid", "order": case}
    )
    elementwise = _transformer(given)
    conditioner = mlp(4, 3 * elementwise.parameters_per_element, 6, 1, generator(0, "c"))
    coupling = Coupling(2, elementwise, conditioner, context=2).double()
    perturb(coupling, 0, 0.3)
    box, x = Box.of(gaussian(5, (5,))), gaussian(6, (5,))
    contexts = 5 * gaussian(6, (2,), seed=3)
    assert not torch.equal(coupling(x, contexts)[0], coupling(x, 0 * contexts)[0])
    back, _ = coupling.inverse(coupling(x, contexts)[0], contexts)
    torch.testing.assert_close(back, x)
    points, bounds = inside(box, 20), coupling.bounds(box)
    for context in contexts:

        def one(flat: Tensor, context: Tensor = context) -> Tensor:
            return coupling(flat.unsqueeze(0), context.unsqueeze(0))[0].squeeze(0)  # type: ignore[no-any-return]

        values = torch.linalg.svdvals(torch.func.vmap(torch.func.jacrev(one))(points)).detach()
        assert values[:, 0].max() <= bounds.forward * (1 + 1e-9)
        assert 1 / values[:, -1].min() <= bounds.inverse * (1 + 1e-9)
    # A shift that a context may move anywhere is multiplied by what the kept part moves.
    assert math.isfinite(bounds.inverse) == (case != "shift_first")


def test_a_context_of_images_is_the_same_everywhere_or_given_for_each_pixel() -> None:
    coupling = Coupling(
        Checkerboard(),
        _transformer("affine"),
        convolutional_network(3, 2, 4, generator(0, "c")),
        context=2,
    ).double()
    perturb(coupling, 0, 0.3)
    x, context = gaussian(2, (1, 4, 4)), gaussian(2, (2,), seed=1)
    pixels = context[:, :, None, None].expand(-1, -1, 4, 4)
    y, log_det = coupling(x, context)
    assert torch.equal(y, coupling(x, pixels)[0])
    back, inverse_log_det = coupling.inverse(y, context)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(inverse_log_det, -log_det)


def test_the_norm_of_a_shear() -> None:
    for cross in (0.0, 0.3, 5.0, 1e6):
        for diagonal in (1e-3, 0.5, 1.0, 2.0, 1e4):
            matrix = torch.tensor([[1, 0], [cross, diagonal]], dtype=torch.float64)
            expected = float(torch.linalg.matrix_norm(matrix, ord=2))
            assert shear_norm(cross, diagonal) == pytest.approx(expected, rel=1e-12)
    assert shear_norm(math.nan, 1.0) == shear_norm(1.0, math.nan) == math.inf


def test_volume_is_preserved_and_scales_are_not_all_one() -> None:
    for coupling, shape in (
        (_coupling("volume_preserving"), (5,)),
        (_of_images("volume_preserving", Halves(1), 4), (4, 2, 2)),
    ):
        coupling.double()
        perturb(coupling, 0, 0.5)
        x = gaussian(4, shape)
        y, log_det = coupling(x)
        assert log_det.abs().max() < 1e-12
        determinants = singular_values(coupling, x).log().sum(1)
        assert determinants.abs().max() < 1e-10
        assert singular_values(coupling, x)[:, 0].max() > 1.1
        torch.testing.assert_close(coupling.inverse(y)[0], x)


@pytest.mark.parametrize("network", [mlp, ResidualMLP])
@pytest.mark.parametrize("name", sorted(registry.names("transformer")))
def test_a_conditioner_that_is_lost_within_bounds_nothing(
    network: Callable[..., nn.Module], name: str
) -> None:
    """Its last layer is zero, as at the start: 0 · ∞ must not pass for a bound."""
    one = registry.build("transformer", registry.resolve("transformer", name))
    inner = network(2, 3 * one.parameters_per_element, 4, 2, generator(0, "lost"))
    with torch.no_grad():
        next(inner.parameters()).fill_(math.nan)
    flow = Coupling(2, one, inner)
    for box in (None, Box.of(gaussian(4, (5,)))):
        assert flow.bounds(box) == (math.inf, math.inf)
