"""Every building block against the contract: a table of constructors."""

import functools
import math
from collections.abc import Callable

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import Conditioner, convolutional_network, mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.linear.permutation import Permutation
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.bijections.shape.multiscale import MultiScale
from harness.bijections.shape.reshape import Flatten, Squeeze
from harness.bijections.transformers.elementwise import Additive, Transformer
from harness.bijections.transformers.mixture_transformer import MixtureOfLogistics
from harness.registry import Shape
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb

G = generator(0, "blocks")


def _coupling(transformer: str | dict[str, object], *, swap: bool) -> Coupling:
    elementwise: Transformer = registry.build(
        "transformer", registry.resolve("transformer", transformer)
    )
    kept, changed = (3, 2) if swap else (2, 3)
    conditioner = mlp(kept, elementwise.parameters_per_element * changed, 8, 2, G)
    return Coupling(2, elementwise, conditioner, swap=swap)


SPLINE: Transformer = registry.build(
    "transformer", registry.resolve("transformer", "rational_quadratic_spline")
)
BLOCKS: dict[str, tuple[Callable[[], Bijection], Shape]] = {
    **{
        f"coupling, affine {name}, swap={swap}": (
            functools.partial(_coupling, {"name": "affine", "scale": name}, swap=swap),
            (5,),
        )
        for name in registry.names("scale_map")
        for swap in (False, True)
    },
    "coupling, floor": (
        lambda: _coupling(
            {"name": "affine", "scale": {"name": "sigmoid", "floor": 0.01}}, swap=False
        ),
        (5,),
    ),
    "coupling, additive": (lambda: _coupling("additive", swap=False), (5,)),
    "coupling, spline": (lambda: _coupling("rational_quadratic_spline", swap=True), (5,)),
    "coupling, mixture": (lambda: _coupling("mixture_of_logistics", swap=False), (5,)),
    "coupling, spline, image": (
        lambda: Coupling(2, SPLINE, convolutional_network(2, 2 * 23, 4, G)),
        (4, 2, 2),
    ),
    "coupling, mixture, image": (
        lambda: Coupling(2, MixtureOfLogistics(3), convolutional_network(2, 2 * 11, 4, G)),
        (4, 2, 2),
    ),
    "coupling, image": (
        lambda: Coupling(2, Additive(), convolutional_network(2, 2, 4, G)),
        (4, 2, 2),
    ),
    "actnorm, vector": (lambda: ActNorm(5), (5,)),
    "actnorm, image": (lambda: ActNorm(3), (3, 2, 2)),
    "permutation": (lambda: Permutation.random(5, G), (5,)),
    "permutation, image": (lambda: Permutation.random(4, G), (4, 2, 2)),
    "lu": (lambda: LULinear(5, G), (5,)),
    "lu, image": (lambda: LULinear(3, G), (3, 2, 2)),
    "flatten": (lambda: Flatten((2, 2, 2)), (2, 2, 2)),
    "squeeze": (Squeeze, (2, 4, 4)),
    "residual, wide": (lambda: Residual(LipschitzNetwork(3, 8, 2, 0.9, G)), (3,)),
    "residual, narrow": (lambda: Residual(LipschitzNetwork(6, 4, 2, 0.9, G)), (6,)),
    "residual, near 1": (lambda: Residual(LipschitzNetwork(4, 8, 1, 0.99, G)), (4,)),
    "chain": (lambda: Chain([ActNorm(5), LULinear(5, G), _coupling("affine", swap=True)]), (5,)),
    "multiscale": (
        lambda: MultiScale(
            [Chain([Squeeze(), ActNorm(4)]), Chain([Squeeze(), LULinear(8, G)])],
            [(4, 4, 4), (8, 2, 2)],
        ),
        (1, 8, 8),
    ),
}
TIGHT = {"actnorm, vector", "actnorm, image", "permutation", "permutation, image", "lu"} | {
    "lu, image",
    "flatten",
    "squeeze",
}
WITHOUT_PARAMETERS = {"permutation", "permutation, image", "flatten", "squeeze"}
block = pytest.mark.parametrize("name", BLOCKS)


def _block(name: str) -> tuple[Bijection, torch.Tensor]:
    make, shape = BLOCKS[name]
    bijection = make().double()
    perturb(bijection, 1, 0.3)
    return bijection, gaussian(6, shape)


@block
def test_round_trip(name: str) -> None:
    conformance.check_round_trip(*_block(name), tolerance=1e-10)


@block
def test_round_trip_in_float32(name: str) -> None:
    bijection, x = _block(name)
    conformance.check_round_trip(bijection.float(), x.float(), tolerance=1e-4)


@block
def test_log_det_is_that_of_the_autograd_jacobian(name: str) -> None:
    conformance.check_log_det(*_block(name))


@block
def test_inverse_jacobian_inverts(name: str) -> None:
    conformance.check_inverse_jacobian(*_block(name))


@block
def test_bounds_hold_near_and_far(name: str) -> None:
    bijection, x = _block(name)
    conformance.check_bounds(bijection, torch.cat([x, 10 * x]), tight=name in TIGHT)


@block
def test_no_batch_mate_matters(name: str) -> None:
    conformance.check_batch_mates(*_block(name))


@block
def test_no_hidden_state(name: str) -> None:
    conformance.check_no_hidden_state(*_block(name))


@pytest.mark.parametrize("name", sorted(BLOCKS.keys() - WITHOUT_PARAMETERS))
def test_gradients_reach_every_parameter(name: str) -> None:
    conformance.check_gradients(*_block(name))


def test_additive_bound_is_tight_for_a_linear_conditioner() -> None:
    linear = torch.nn.Linear(2, 2)
    coupling = Coupling(2, Additive(), Conditioner([linear])).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    conformance.check_bounds(coupling, gaussian(1, (4,)), tight=True)
    assert coupling.bounds().forward == pytest.approx((3 + math.sqrt(13)) / 2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_residual_bounds_are_reached(sign: float) -> None:
    """g(x) = ±√c φ(√c x + b) where φ is steepest: the slope is c·0.99985, so J is 1 ± that."""
    network = LipschitzNetwork(1, 1, 1, 0.8, G).double()
    first, second = network.layers
    with torch.no_grad():
        first.weight.fill_(1.0)  # type: ignore[operator]
        first.bias.fill_(2.3993572805)  # type: ignore[operator]
        second.weight.fill_(sign)  # type: ignore[operator]
    block = Residual(network)
    slope = float(conformance.autograd_jacobians(block, torch.zeros(1, 1).double()))
    bounds = block.bounds()
    if sign > 0:
        assert slope == pytest.approx(bounds.forward, rel=1e-3)
    else:
        assert 1 / slope == pytest.approx(bounds.inverse, rel=1e-2)


def test_multiscale_bounds_take_the_larger_of_what_splits_off_and_what_goes_on() -> None:
    levels = [Chain([Squeeze(), ActNorm(4)]), Chain([Squeeze(), ActNorm(8)])]
    with torch.no_grad():
        levels[0].parts[1].log_scale.fill_(math.log(3))  # type: ignore[operator]
        levels[1].parts[1].log_scale.fill_(math.log(0.1))  # type: ignore[operator]
    flow = MultiScale(levels, [(4, 2, 2), (8, 1, 1)]).double()
    assert flow.bounds() == pytest.approx((3, 10 / 3))
    conformance.check_bounds(flow, gaussian(2, (1, 4, 4)), tight=True)


def test_affine_coupling_has_no_global_bound() -> None:
    coupling, _ = _block("coupling, affine bounded_exp, swap=False")
    assert coupling.bounds() == (math.inf, math.inf)


def test_actnorm_initialisation_normalises() -> None:
    x = 3 + 5 * gaussian(500, (4,))
    x[:, 3] = 7.0
    norm = ActNorm(4, smallest=0.1).double()
    y = norm.initialize(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(y[:, :3].std(0, correction=0), torch.ones(3, dtype=torch.float64))
    assert norm.bounds().forward == pytest.approx(10)  # 1 / smallest, for the constant channel


def test_the_fixed_point_reports_that_it_did_not_converge() -> None:
    residual = Residual(LipschitzNetwork(4, 8, 1, 0.9, G), maximum_iterations=3).double()
    y = gaussian(5, (4,))
    y[0] = torch.nan
    _, _, report = residual.inverse_with_convergence(y)
    assert not report.converged.any()
    assert (report.iterations[1:] == 3).all()
    assert report.iterations[0] == 1
    assert (report.residual[1:] > 0).all()


def test_the_residual_network_stays_below_its_coefficient() -> None:
    network = LipschitzNetwork(6, 16, 2, 0.9, G).double()
    perturb(network, 3, size=5.0)
    assert 0.8 < network.lipschitz() <= 0.9
