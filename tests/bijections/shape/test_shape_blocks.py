"""Diagonal scaling, batch normalisation, logit, padding: values, bounds on boxes, misuse."""

import math
from collections.abc import Callable

import pytest
import torch

from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.batch_norm import BatchNorm
from harness.bijections.linear.linear import LULinear, PlainLinear
from harness.bijections.linear.permutation import Permutation
from harness.bijections.linear.scaling import Scaling
from harness.bijections.shape.logit import Logit
from harness.bijections.shape.padding import ZeroPadding
from harness.bijections.shape.reshape import Flatten, Squeeze
from harness.bijections.statistics import update_statistics
from harness.registry import Shape
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb


def _batch_norm(channels: int) -> BatchNorm:
    block = BatchNorm(channels)
    block.initialize(3 + 2 * gaussian(50, (channels,)).float())
    return block


DIAGONAL: dict[str, tuple[Callable[[], Bijection], Shape]] = {
    "scaling": (lambda: Scaling(5), (5,)),
    "scaling of images": (lambda: Scaling(3, floor=0.01), (3, 2, 2)),
    "batch norm": (lambda: _batch_norm(5), (5,)),
    "batch norm of images": (lambda: _batch_norm(3), (3, 2, 2)),
}


@pytest.mark.parametrize("name", DIAGONAL)
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_diagonal_contract(name: str, factor: int) -> None:
    make, shape = DIAGONAL[name]
    block, x = make().double().train(), gaussian(4, shape)
    perturb(block, 1, 0.5)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(factor)
    conformance.check_round_trip(block, x, tolerance=1e-10)
    conformance.check_log_det(block, x)
    conformance.check_inverse_jacobian(block, x)
    conformance.check_bounds(block, torch.cat([x, 100 * x]), tight=True)
    conformance.check_batch_mates(block, x)
    conformance.check_no_hidden_state(block, x)
    conformance.check_gradients(block, x)
    box = Box.of(x)
    image = block.image(box)
    assert image is not None
    assert block.bounds(box) == block.bounds()
    torch.testing.assert_close(block(box.lower[None])[0][0].detach(), image.lower)
    torch.testing.assert_close(block(box.upper[None])[0][0].detach(), image.upper)
    conformance.check_round_trip(block.float(), x.float(), tolerance=1e-4)


@pytest.mark.parametrize("name", DIAGONAL)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_lost_weights_are_a_result(name: str, value: float) -> None:
    make, shape = DIAGONAL[name]
    block = make()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(value)
    assert block.bounds() == (math.inf, math.inf)
    assert not block(gaussian(2, shape).float())[0].isfinite().any()


def test_a_scaling_keeps_its_floor_whatever_its_weights_are() -> None:
    block = Scaling(3, floor=0.25)
    torch.testing.assert_close(block.scale(), torch.ones(3))
    with torch.no_grad():
        block.raw.copy_(torch.tensor([-1e6, 0.0, 3.0]))
    assert block.bounds().inverse == 4
    assert torch.equal(block.inverse(block(torch.ones(1, 3))[0])[0], torch.ones(1, 3))


def test_batch_norm_initialisation_agrees_with_pytorchs_in_training() -> None:
    x = 3 + 5 * gaussian(40, (3, 4, 4))
    ours, theirs = BatchNorm(3).double(), torch.nn.BatchNorm2d(3).double()
    torch.testing.assert_close(ours.initialize(x), theirs(x).detach())


def test_batch_norm_moves_by_updates_alone() -> None:
    x, block = 3 + 2 * gaussian(20, (2,)), BatchNorm(2, momentum=0.25).double().train()
    before = block(x)[0]
    assert torch.equal(block(x[:1])[0], before[:1])
    block.update(x)
    torch.testing.assert_close(block.mean, 0.25 * x.mean(0))
    torch.testing.assert_close(block.variance, 0.75 + 0.25 * x.var(0, correction=0))
    again = BatchNorm(2).double()
    again.load_state_dict(block.state_dict())
    assert torch.equal(again(x)[0], block(x)[0])


def test_statistics_are_updated_in_turn_within_a_flow() -> None:
    first, second = BatchNorm(2, momentum=1).double(), BatchNorm(2, momentum=1).double()
    flow, x = Chain([Scaling(2).double(), first, second]), 3 + 5 * gaussian(30, (2,))
    update_statistics(flow, x)
    torch.testing.assert_close(first.mean, x.mean(0))
    torch.testing.assert_close(second.mean, torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        second.variance, torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0
    )
    kept = first.mean.clone()
    flow(2 * x)
    assert torch.equal(first.mean, kept)


UNIT = torch.rand(4, 5, generator=generator(0, "unit"), dtype=torch.float64)


@pytest.mark.parametrize("alpha", [1e-6, 0.05, 0.3])
def test_logit_contract(alpha: float) -> None:
    block = Logit(alpha)
    conformance.check_round_trip(block, UNIT, tolerance=1e-10)
    conformance.check_log_det(block, UNIT)
    conformance.check_inverse_jacobian(block, UNIT)
    conformance.check_no_hidden_state(block, UNIT)
    conformance.check_round_trip(block, UNIT.float(), tolerance=1e-4)
    ends = torch.tensor([[0.0, 0.5, 1.0]]).double()
    expected = torch.logit(alpha + (1 - 2 * alpha) * ends)
    torch.testing.assert_close(block(ends)[0], expected)
    _, log_det = block.inverse(torch.tensor([[-60.0], [60.0]]))  # beyond what σ tells apart
    torch.testing.assert_close(log_det, torch.full((2,), -60 - math.log(1 - 2 * alpha)))
    assert block(torch.full((1, 2), 2.0))[0].isnan().all()


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("sides", [(0.0, 1.0), (0.1, 0.3), (0.6, 0.9), (0.2, 0.95), (-0.001, 0.5)])
def test_logit_bounds_on_a_box_are_reached_and_not_exceeded(
    alpha: float, sides: tuple[float, float]
) -> None:
    x = torch.linspace(*sides, 201, dtype=torch.float64).unsqueeze(1).expand(-1, 2)
    block, box = Logit(alpha), Box.of(x)
    values = torch.linalg.svdvals(conformance.autograd_jacobians(block, x))
    bounds = block.bounds(box)
    assert float(values.max()) == pytest.approx(bounds.forward, rel=1e-9)
    assert float(1 / values.min()) == pytest.approx(bounds.inverse, rel=1e-4)
    assert float(1 / values.min()) <= bounds.inverse * (1 + 1e-12)
    image, y = block.image(box), block(x)[0]
    torch.testing.assert_close(y.amin(0), image.lower)
    torch.testing.assert_close(y.amax(0), image.upper)


def test_a_box_with_different_sides_takes_the_worst_entry() -> None:
    block = Logit(0.05)
    box = Box(torch.tensor([0.4, 0.9]).double(), torch.tensor([0.45, 1.0]).double())
    slopes = conformance.autograd_jacobians(block, torch.stack([*box])).diagonal(dim1=1, dim2=2)
    assert block.bounds(box).forward == pytest.approx(float(slopes[1, 1]))
    assert block.bounds(box).inverse == pytest.approx(1 / float(slopes[1, 0]))


def test_logit_bounds_of_the_unit_box_and_everywhere() -> None:
    block, box = Logit(0.05), Box(torch.zeros(3).double(), torch.ones(3).double())
    assert block.bounds(box) == pytest.approx((18.947, 0.27778), rel=1e-4)
    assert block.bounds().forward == math.inf
    assert block.bounds().inverse == pytest.approx(0.27778, rel=1e-4)
    for far in (-0.2, math.nan, -math.inf):
        beyond = Box(torch.tensor([0.1, far]).double(), torch.ones(2).double())
        assert block.bounds(beyond).forward == math.inf
        assert not block.bounds(beyond).inverse < 0.27


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)], ids=str)
def test_padding_is_an_isometry_with_a_left_inverse(shape: Shape) -> None:
    block, x = ZeroPadding(3, 2), gaussian(4, shape)
    y, log_det = block(x)
    assert y.shape == (4, 5, *shape[1:])
    assert not y[:, 3:].any()
    assert torch.equal(block.inverse(y)[0], x)
    jacobians = conformance.autograd_jacobians(block, x)
    gram = jacobians.transpose(1, 2) @ jacobians
    torch.testing.assert_close(log_det, torch.linalg.slogdet(gram).logabsdet / 2)
    values = torch.linalg.svdvals(jacobians)
    assert block.bounds() == (float(values.max()), float(1 / values.min())) == (1, 1)
    projection = conformance.autograd_jacobians(block, y, inverse=True)
    assert float(torch.linalg.svdvals(projection).max()) == block.bounds().inverse
    image = block.image(Box.of(x))
    torch.testing.assert_close(image.upper, y.amax(0))
    moved, _ = block(block.inverse(y + 1)[0])  # what is off the image is projected
    torch.testing.assert_close(moved, block(x + 1)[0])


def test_padding_within_a_chain_multiplies_its_bounds() -> None:
    flow = Chain([ZeroPadding(3, 2), LULinear(5, generator(0, "p"))]).double()
    perturb(flow, 0, 0.3)
    values = torch.linalg.svdvals(conformance.autograd_jacobians(flow, gaussian(1, (3,))))
    bounds = flow.bounds()
    assert float(values.max()) <= bounds.forward
    assert float(1 / values.min()) <= bounds.inverse
    x = gaussian(3, (3,))
    torch.testing.assert_close(flow.inverse(flow(x)[0])[0], x, rtol=1e-10, atol=1e-10)


MISUSE: dict[str, tuple[Callable[[], object], str]] = {
    "floor of 0": (lambda: Scaling(2, floor=0.0), r"Scaling: floor must be within \(0, 1\)"),
    "floor of 1": (lambda: Scaling(2, floor=1.0), "Scaling: floor"),
    "no channels": (lambda: Scaling(0), "Scaling: channels must be at least 1, not 0"),
    "scaling, channels": (lambda: Scaling(2)(torch.zeros(1, 1)), "Scaling: the input must be"),
    "scaling, dtype": (
        lambda: Scaling(2)(torch.zeros(1, 2).double()),
        "Scaling: the input is torch.float64 on cpu, and the weights torch.float32 on cpu",
    ),
    "epsilon": (lambda: BatchNorm(2, epsilon=0.0), "BatchNorm: epsilon must be positive"),
    "momentum": (lambda: BatchNorm(2, momentum=0.0), r"BatchNorm: momentum must be within \(0, 1"),
    "batch norm, channels": (
        lambda: BatchNorm(2).update(torch.zeros(1, 1)),
        r"BatchNorm: the input must be \(batch, 2, …\), not of shape \(1, 1\)",
    ),
    "alpha of 0": (lambda: Logit(0.0), r"Logit: alpha must be within \(0, 1/2\), not 0.0"),
    "alpha of a half": (lambda: Logit(0.5), "Logit: alpha"),
    "padding by nothing": (lambda: ZeroPadding(2, 0), "ZeroPadding: extra must be at least 1"),
    "padding, latent": (
        lambda: ZeroPadding(2, 1).inverse(torch.zeros(1, 2)),
        r"ZeroPadding: the input must be \(batch, 3, …\)",
    ),
    "odd height": (
        lambda: Squeeze()(torch.zeros(1, 1, 3, 4)),
        r"Squeeze: .* even height, even width\), not of shape \(1, 1, 3, 4\)",
    ),
    "vectors squeezed": (lambda: Squeeze()(torch.zeros(1, 4)), "Squeeze: the input must be"),
    "unsqueezed": (lambda: Squeeze().inverse(torch.zeros(1, 6, 2, 2)), "Squeeze: the inverse"),
    "flatten": (
        lambda: Flatten((2, 2))(torch.zeros(1, 4)),
        r"Flatten: the input must be \(batch, 2, 2\), not of shape \(1, 4\)",
    ),
    "flatten, latent": (
        lambda: Flatten((2, 2)).inverse(torch.zeros(2, 2, 2)),
        r"Flatten: the input must be \(batch, 4\)",
    ),
    "no permutation": (
        lambda: Permutation(torch.tensor([0, 2, 2])),
        r"Permutation: index must hold each of 0 … 2 once",
    ),
    "actnorm broadcast": (lambda: ActNorm(3)(torch.zeros(2, 1)), "ActNorm: the input must be"),
    "actnorm floor": (lambda: ActNorm(3, smallest=0.0), "ActNorm: smallest must be positive"),
    "no matrix": (lambda: PlainLinear(0, generator(0, "m")), "PlainLinear: channels must be"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_told_in_a_sentence(name: str) -> None:
    function, sentence = MISUSE[name]
    with pytest.raises(ValueError, match=f"^{sentence}"):
        function()
