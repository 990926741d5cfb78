"""A coupling in fixed-point arithmetic: exact on its grid, and what it is elsewhere."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.coupling.bit_exact import BitExactCoupling
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.coupling_bounds import shear_norm
from harness.bijections.coupling.grid import Grid
from harness.bijections.coupling.networks import convolutional_network, mlp
from harness.bijections.transformers.elementwise import Additive
from harness.conformance.candidate import Candidate
from harness.conformance.training import trained
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb

GRID = Grid(8)


def coupling(*, image: bool = False, integer_bits: int = 8, context: int = 0) -> BitExactCoupling:
    source = generator(0, "bit-exact")
    network = convolutional_network(2, 2, 4, source) if image else mlp(2 + context, 3, 8, 2, source)
    return BitExactCoupling(2, network, integer_bits=integer_bits, context=context)


@pytest.fixture(scope="module")
def flow() -> Bijection:
    """After 200 steps of training, in float32."""
    choice = registry.resolve("architecture", {"name": "bit_exact", "couplings": 8, "width": 16})

    def build(source: torch.Generator) -> Bijection:
        network: Bijection = registry.build("architecture", choice, (5,), source)
        return network

    found, _, _ = trained(Candidate("bit_exact", (5,), build))
    return found.float()


def inputs(count: int = 200) -> dict[str, Tensor]:
    source = generator(1, "bit-exact")
    return {
        "normal": torch.randn(count, 5, generator=source),
        "ten times": 10 * torch.randn(count, 5, generator=source),
        "uniform": 100 * (2 * torch.rand(count, 5, generator=source) - 1),
        "Rademacher": 2.0 * torch.randint(0, 2, (count, 5), generator=source) - 1,
        "constant": torch.full((count, 5), 3.0),
        "tiny": 1e-3 * torch.randn(count, 5, generator=source),
    }


@torch.no_grad()
def there_and_back(flow: Bijection, x: Tensor) -> Tensor:
    return flow.inverse(flow(x)[0])[0]


@pytest.mark.parametrize("name", inputs())
def test_round_trips_on_the_grid_are_exact_in_float32(flow: Bijection, name: str) -> None:
    x = GRID.round(inputs()[name])
    assert torch.equal(there_and_back(flow, x), x)
    with torch.no_grad():
        assert not torch.equal(flow(x)[0], x)  # it did something
        assert torch.equal(flow(flow.inverse(x)[0])[0], x)


def test_the_same_coupling_without_rounding_is_not_exact() -> None:
    exact = coupling()
    perturb(exact, 1)
    plain = Coupling(2, Additive(), exact.conditioner)
    x = GRID.round(gaussian(200, (5,)).float())
    assert torch.equal(there_and_back(exact, x), x)
    assert not torch.equal(there_and_back(plain, x), x)


def test_what_is_off_the_grid_comes_back_as_its_nearest_point(flow: Bijection) -> None:
    for x in inputs().values():
        back = there_and_back(flow, x)
        assert torch.equal(back, GRID.round(x))
        assert (back.double() - x.double()).abs().max() <= GRID.step(torch.float32) / 2
        with torch.no_grad():
            assert torch.equal(flow(flow.inverse(x)[0])[0], GRID.round(x))


def test_an_inverse_rounds_its_input_first() -> None:
    block, y = coupling(), gaussian(20, (5,)).float()
    perturb(block, 1)
    with torch.no_grad():
        found, _ = block.inverse(y)
        assert torch.equal(found, block.inverse(GRID.round(y))[0])
    assert torch.equal(found, GRID.round(found))


def test_batches_of_another_size_come_back_exactly(flow: Bijection) -> None:
    x = GRID.round(inputs()["ten times"])
    with torch.no_grad():
        y, _ = flow(x)
        back = torch.cat(
            [flow.inverse(some)[0] for size in (1, 3, 46) for some in y[:138].split(size)]
        )
    assert torch.equal(back, x[:138].repeat(3, 1))


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e30])
def test_beyond_the_range_rounding_is_that_of_floats(flow: Bijection, scale: float) -> None:
    x = scale * inputs()["normal"]
    back = there_and_back(flow, GRID.round(x))
    assert not torch.equal(back, GRID.round(x))
    assert back.isfinite().all()
    assert (back - x).abs().max() < 100 * torch.finfo(torch.float32).eps * x.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_dtype_has_its_grid(dtype: torch.dtype) -> None:
    block = coupling(integer_bits=4)
    perturb(block, 1)
    x = block.grid.round(gaussian(100, (5,)).to(dtype))
    assert torch.equal(there_and_back(block.to(dtype), x), x)


def test_it_is_one_to_one_on_all_of_a_small_grid() -> None:
    grid = Grid(2)  # in bfloat16 multiples of 1/64, of which 4096 lie in the square
    side = torch.arange(-32, 32).bfloat16() * grid.step(torch.bfloat16)
    x = torch.cartesian_prod(side, side)
    network = mlp(1, 1, 8, 2, generator(0, "bit-exact"))
    block = BitExactCoupling(1, network, integer_bits=2)
    perturb(block, 2, 0.3)
    y = block.bfloat16()(x)[0].float()
    assert len(y.unique(dim=0)) == len(x)
    assert not torch.equal(y, x.float())


@pytest.mark.parametrize("image", [False, True])
def test_contract(image: bool) -> None:
    block, x = coupling(image=image).double(), gaussian(5, (4, 2, 3) if image else (5,))
    perturb(block, 1, 0.3)
    conformance.check_round_trip(block, x, tolerance=1e-12)
    conformance.check_log_det(block, x)
    conformance.check_inverse_jacobian(block, x)
    conformance.check_bounds(block, torch.cat([x, 10 * x]))
    conformance.check_batch_mates(block, x)
    conformance.check_no_hidden_state(block, x)
    conformance.check_gradients(block, x)


def test_gradients_are_those_without_rounding() -> None:
    exact = coupling().double()
    perturb(exact, 1, 0.3)
    plain = Coupling(2, Additive(), exact.conditioner)
    x = exact.grid.round(gaussian(4, (5,)))
    ours, theirs = (conformance.autograd_jacobians(one, x) for one in (exact, plain))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", [0.1, 0.3, 1.0])
def test_points_of_the_grid_are_held_where_the_jacobian_says_less(size: float) -> None:
    """A step of the grid apart, every number that is shifted may be rounded the other way."""
    block = coupling(integer_bits=12)
    perturb(block, 3, size)
    step = block.grid.step(torch.float32)
    a = block.grid.round(gaussian(20000, (5,)).float())
    b = a.clone()
    b[:, 0] += step
    with torch.no_grad():
        changes = [(block(b)[0] - block(a)[0]).double(), block.inverse(b)[0] - block.inverse(a)[0]]
    largest = max(float(change.norm(dim=1).max()) / step for change in changes)
    lipschitz = block.conditioner.lipschitz()  # type: ignore[operator]
    assert largest <= shear_norm(lipschitz + math.sqrt(3), 1.0)
    if size == 0.1:
        assert largest > shear_norm(lipschitz, 1.0)


def test_off_the_grid_it_jumps_so_only_its_jacobian_is_bounded() -> None:
    block = coupling(integer_bits=12)
    perturb(block, 1, 0.3)
    edge = block.grid.step(torch.float32) / 2
    x = torch.zeros(2, 5)
    x[:, 0] = edge  # a tie goes to 0, what is above it to a step
    x[1, 0] = math.nextafter(edge, 1) + 1e-9
    with torch.no_grad():
        apart = (block(x)[0][1] - block(x)[0][0]).double().norm() / (x[1] - x[0]).norm()
    assert apart > 1000
    assert block.bounds() == (math.inf, math.inf)
    box = Box.of(x.double())
    assert block.bounds(box) == Coupling(2, Additive(), block.conditioner).bounds(box)
    assert max(block.bounds(box)) < 100


def test_a_box_around_what_a_box_goes_to_has_room_for_rounding() -> None:
    block = coupling(integer_bits=49).double()  # steps of 1/16, in float64
    perturb(block, 1, 0.3)
    conformance.check_bounds(block, gaussian(2, (5,)))
    for x in gaussian(30, (5,)):
        image, (y, _) = block.image(Box(x, x)), block(x.unsqueeze(0))
        assert image is not None
        assert ((image.lower <= y[0]) & (y[0] <= image.upper)).all()


def test_a_context_is_taken() -> None:
    block, x = coupling(context=2), GRID.round(gaussian(50, (5,)).float())
    perturb(block, 1)
    context = gaussian(50, (2,), seed=1).float()
    with torch.no_grad():
        y, _ = block(x, context)
        assert torch.equal(block.inverse(y, context)[0], x)
        assert not torch.equal(block.inverse(y, context + 1)[0], x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_grid_is_that_of_exact_arithmetic(dtype: torch.dtype) -> None:
    """Against rationals, where Python rounds a tie to the even neighbour too."""
    grid = Grid(3)
    step = Fraction(grid.step(dtype))
    x = (4 * gaussian(300, ())).to(dtype)
    x = torch.cat([x, (torch.arange(-5, 6) * float(step) / 2).to(dtype)])
    found = grid.round(x).tolist()
    expected = [one if abs(one) >= 8 else round(Fraction(one) / step) * step for one in x.tolist()]
    assert found == expected
    assert torch.equal(grid.round(grid.round(x)), grid.round(x))
    largest, bits = 2**3 / step, -math.log2(torch.finfo(dtype).eps) + 1
    assert largest == 2**bits


def test_what_is_no_number_stays() -> None:
    x = torch.tensor([math.inf, -math.inf, 3e38, -3e38])
    assert torch.equal(GRID.round(x), x)
    assert GRID.round(torch.tensor([math.nan])).isnan().all()


def test_bad_arguments_are_refused() -> None:
    for bits in (-1, 65):
        with pytest.raises(ValueError, match="integer_bits must be from 0 to 64"):
            Grid(bits)
    choice = registry.resolve("architecture", "bit_exact")
    with pytest.raises(ValueError, match="needs at least 2 dimensions to split, not 1"):
        registry.build("architecture", choice, (1,), generator(0, "bit-exact"))


def test_no_bound_of_lost_weights() -> None:
    block = coupling()
    for value, parameter in itertools.product((math.nan, math.inf), block.parameters()):
        with torch.no_grad():
            parameter.fill_(value)
        assert block.bounds(Box.of(gaussian(2, (5,)))) == (math.inf, math.inf)
