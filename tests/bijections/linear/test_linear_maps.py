"""Every linear map over channels, by its name on the axis: a table against oracles."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.linear.linear import PlainLinear
from harness.bijections.linear.over_channels import LinearOverChannels
from harness.bijections.linear.rotations import cayley, exponential, householder_product
from harness.registry import Shape, UnresolvedError
from harness.seeding import generator
from harness.training.batched import batched
from tests import conformance
from tests.networks import gaussian, perturb

GIVEN: list[str | dict[str, Any]] = [
    *registry.names("mixing"),
    {"name": "svd", "scale": {"name": "sigmoid", "floor": 0.1}},
    {"name": "householder", "reflections": 2},
]
ORTHOGONAL = ["cayley", "householder", "matrix_exponential"]
FIXED = ("none", "permutation", "reverse")
WEIGHTED = [one for one in GIVEN if one not in FIXED]
mixing = pytest.mark.parametrize("given", GIVEN, ids=str)
weighted = pytest.mark.parametrize("given", WEIGHTED, ids=str)
shaped = pytest.mark.parametrize("shape", [(5,), (3, 2, 2), (1,)], ids=str)


def make(given: str | dict[str, Any], channels: int, seed: int = 0) -> Bijection:
    choice = registry.resolve("mixing", given)
    built: Bijection = registry.build("mixing", choice, channels, generator(seed, "mixing"))
    return built


def times(block: Bijection, factor: float) -> Bijection:
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(factor)
    return block


def trained(given: str | dict[str, Any], channels: int = 8, steps: int = 200) -> Bijection:
    """After Adam in float32, towards correlated data: what pulls an orthogonal W away."""
    block = make(given, channels)
    if given in FIXED:
        return block
    target = torch.randn(channels, channels, generator=generator(0, "target"))
    x = gaussian(64, (channels,)).float() @ target
    optimizer = torch.optim.Adam(block.parameters(), lr=1e-2)
    for _ in range(steps):
        y, log_det = block(x)
        loss = ((y - x @ target).square().sum(1) / 2 - log_det).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return block


STATES: dict[str, Callable[[str | dict[str, Any]], Bijection]] = {
    "at the start": lambda given: make(given, 5).double(),
    "perturbed": lambda given: _perturbed(make(given, 5).double()),
    "twice": lambda given: times(_perturbed(make(given, 5).double()), 2),
    "four times": lambda given: times(_perturbed(make(given, 5).double()), 4),
    "trained": lambda given: trained(given, 5).double(),
}


def _perturbed(block: Bijection) -> Bijection:
    perturb(block, 1, 0.3)
    return block


@mixing
@shaped
def test_contract(given: str | dict[str, Any], shape: Shape) -> None:
    block, x = _perturbed(make(given, shape[0]).double()), gaussian(4, shape)
    conformance.check_round_trip(block, x, tolerance=1e-10)
    conformance.check_log_det(block, x)
    conformance.check_inverse_jacobian(block, x)
    conformance.check_bounds(block, torch.cat([x, 10 * x]), tight=True)
    conformance.check_batch_mates(block, x)
    conformance.check_no_hidden_state(block, x)
    conformance.check_round_trip(block.float(), x.float(), tolerance=1e-4)


@mixing
@pytest.mark.parametrize("state", STATES)
def test_bounds_are_the_singular_values_on_any_box(given: str | dict[str, Any], state: str) -> None:
    block, box = STATES[state](given), Box.of(gaussian(4, (5,)))
    conformance.check_bounds(block, gaussian(2, (5,), scale=100), tight=True)
    assert block.bounds(box) == block.bounds()


@mixing
def test_bounds_hold_of_what_float32_computes(given: str | dict[str, Any]) -> None:
    """And of what the parameters say: not even by a rounding of float32 is a bound too low."""
    for channels in (5, 24):
        block = _perturbed(make(given, channels))
        bounds, x = block.bounds(), torch.zeros(1, channels)
        (rounded,) = conformance.autograd_jacobians(block, x).double()
        (exact,) = conformance.autograd_jacobians(copy.deepcopy(block).double(), x.double())
        for matrix in (rounded, exact):
            values = torch.linalg.svdvals(matrix)
            forward, inverse = float(values[0]), float(1 / values[-1])
            assert bounds.forward * (1 + 1e-12) >= forward == pytest.approx(bounds.forward, 1e-4)
            assert bounds.inverse * (1 + 1e-12) >= inverse == pytest.approx(bounds.inverse, 1e-4)


@mixing
@pytest.mark.parametrize("shape", [(5,), (3, 2, 2)], ids=str)
def test_images_hold_what_is_in_the_box_and_are_reached(
    given: str | dict[str, Any], shape: Shape
) -> None:
    block, box = _perturbed(make(given, shape[0]).double()), Box.of(gaussian(3, shape))
    image = block.image(box)
    assert image is not None
    ends = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * shape[0]).double()
    ends = ends.reshape(-1, shape[0], *[1] * (len(shape) - 1))
    y = block(box.lower + ends * (box.upper - box.lower))[0].detach()  # all corners, pixelwise
    torch.testing.assert_close(y.amin(0), image.lower, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(y.amax(0), image.upper, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("given", ORTHOGONAL)
@pytest.mark.parametrize("channels", [8, 64])
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0])
def test_an_orthogonal_map_stays_orthogonal(given: str, channels: int, factor: float) -> None:
    """In float32 after 200 steps: some ε, and the steps have moved it far."""
    block, start = times(trained(given, channels), factor), make(given, channels)
    assert isinstance(block, LinearOverChannels)
    assert isinstance(start, LinearOverChannels)
    w = block.weight().detach()
    gram = w.double().T @ w.double()
    off = torch.linalg.matrix_norm(gram - torch.eye(channels), ord=2)
    assert off < 10 * torch.finfo(torch.float32).eps
    assert (w - start.weight()).abs().max() > 0.1


@pytest.mark.parametrize("given", ["qr", "svd", "lu", "plain"])
def test_a_trained_map_still_inverts_in_float32(given: str) -> None:
    conformance.check_round_trip(trained(given), gaussian(64, (8,), scale=10).float(), 1e-4)


def test_reflections_are_multiplied_in_order() -> None:
    vectors = torch.randn(6, 4, generator=generator(0, "v"), dtype=torch.float64)
    product = torch.eye(6, dtype=torch.float64)
    for v in vectors.T:
        product = product @ (torch.eye(6) - 2 * torch.outer(v, v) / v.square().sum())
    torch.testing.assert_close(householder_product(vectors), product)


@pytest.mark.parametrize("angle", [0.3, 2.0, -3.0])
def test_rotations_of_the_plane(angle: float) -> None:
    """A with ω below the diagonal turns by ω, and by 2 arctan ω in the other direction."""
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    ).double()
    below = torch.tensor([[9.0, 9.0], [1.0, 9.0]]).double()
    torch.testing.assert_close(exponential(angle * below), turn)
    torch.testing.assert_close(cayley(math.tan(angle / 2) * below), turn.T)


@pytest.mark.parametrize("function", [householder_product, cayley, exponential])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e2])
def test_orthogonal_far_from_the_start_in_float32(
    function: Callable[[Tensor], Tensor], scale: float
) -> None:
    free = scale * torch.randn(32, 32, generator=generator(0, "free"))
    near_parallel = free + 100 * scale * torch.ones(32, 1)
    for one in (free, near_parallel) if function is householder_product else (free,):
        w = function(one).double()
        assert torch.linalg.matrix_norm(w.T @ w - torch.eye(32), ord=2) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_matrix_exponential_in_half_precision_is_that_of_float64(
    dtype: torch.dtype, size: int
) -> None:
    free = torch.randn(size, size, generator=generator(0, "free")).to(dtype)
    off = exponential(free).double() - exponential(free.double())
    assert off.abs().max() < 4 * torch.finfo(dtype).eps  # NaN fails


def test_the_range_of_the_scale_map_bounds_a_singular_value_decomposition() -> None:
    block = times(_perturbed(make({"name": "svd", "scale": {"name": "bounded_exp"}}, 5)), 1e3)
    assert block.bounds() == pytest.approx((2, 2))


@weighted
def test_gradients_reach_every_parameter(given: str | dict[str, Any]) -> None:
    block, x = _perturbed(make(given, 5).double()), gaussian(4, (5,))
    weight = torch.linspace(1, 3, 5, dtype=torch.float64)  # a norm does not see a rotation
    for function in (block, block.inverse):
        block.zero_grad()
        value, log_det = function(x)
        ((value * weight).square().sum() + log_det.sum()).backward()
        for name, parameter in block.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@mixing
@pytest.mark.parametrize("shape", [(5,), (3, 2, 2)], ids=str)
def test_a_pack_computes_what_each_network_does(given: str | dict[str, Any], shape: Shape) -> None:
    blocks = [make(given, shape[0], seed).double() for seed in range(3)]
    state = {
        name: torch.stack([block.state_dict()[name] for block in blocks])
        for name in blocks[0].state_dict()
    }
    pack, x = batched(blocks[0], state, 3), gaussian(12, shape)
    assert isinstance(pack, Bijection)
    given_each = zip(blocks, torch.tensor_split(x, 3), strict=True)
    alone = [(block(part), block.inverse(part)) for block, part in given_each]
    for number, (value, log_det) in enumerate((pack(x), pack.inverse(x))):
        torch.testing.assert_close(value, torch.cat([one[number][0] for one in alone]))
        torch.testing.assert_close(log_det, torch.cat([one[number][1] for one in alone]))


@weighted
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_lost_weights_are_a_result(given: str | dict[str, Any], value: float) -> None:
    block, x = make(given, 5), gaussian(3, (5,)).float()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(value)
    assert block.bounds() == (math.inf, math.inf)
    assert not block(x)[0].isfinite().all()
    assert not block.inverse(x)[0].isfinite().all()


def test_a_singular_matrix_is_a_result() -> None:
    block, x = PlainLinear(3, generator(0, "s")), gaussian(2, (3,)).float()
    with torch.no_grad():
        block.matrix.zero_()
    assert block.bounds() == (0.0, math.inf)
    assert block(x)[1].tolist() == [-math.inf] * 2
    assert not block.inverse(x)[0].isfinite().any()
    block(x)[1].sum().backward()


def test_the_determinant_of_many_channels_neither_under_nor_overflows() -> None:
    for factor in (1e-3, 1e3):
        block = times(make("plain", 64), factor)
        expected = torch.full((1,), 64 * math.log(factor))
        torch.testing.assert_close(block(torch.zeros(1, 64))[1].detach(), expected)


@mixing
def test_misuse_is_told(given: str | dict[str, Any]) -> None:
    block = make(given, 4)
    name = type(block).__name__
    for function in (block, block.inverse):
        with pytest.raises(ValueError, match=rf"^{name}: the input must be \(batch, 4, …\)"):
            function(torch.zeros(2, 5))
        with pytest.raises(ValueError, match=rf"^{name}: the input must be"):
            function(torch.zeros(4))
        if given not in FIXED:
            with pytest.raises(ValueError, match=f"^{name}: the input is torch.float64 on cpu"):
                function(torch.zeros(2, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match=f"^{name}: channels must be at least 1, not 0"):
        make(given, 0)


def test_misuse_by_name_is_told() -> None:
    with pytest.raises(UnresolvedError, match="did you mean 'householder'"):
        registry.resolve("mixing", "house_holder")
    with pytest.raises(UnresolvedError, match="greater than or equal to 1"):
        registry.resolve("mixing", {"name": "householder", "reflections": 0})
