"""The layers of a network: their composition is the network, and readers know their names."""

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.inverse import Inverse
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.linear.permutation import Permutation
from harness.bijections.path import Layer, block_name, layers
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.bijections.scale_maps.sigmoids import Sigmoid
from harness.bijections.shape.factor_out import Beside
from harness.bijections.shape.logit import Logit
from harness.bijections.transformers.elementwise import Additive, Affine
from harness.seeding import generator
from tests.networks import cases, gaussian, network, perturb

SOURCE = generator(0, "path")


def walked(path: list[Layer], x: Tensor) -> tuple[Tensor, Tensor]:
    log_det = x.new_zeros(len(x))
    for layer in path:
        x, increment = layer.bijection(x)
        log_det = log_det + increment
    return x, log_det


def walked_back(path: list[Layer], y: Tensor) -> tuple[Tensor, Tensor]:
    log_det = y.new_zeros(len(y))
    for layer in reversed(path):
        y, increment, _ = layer.bijection.inverse_with_convergence(y)
        log_det = log_det + increment
    return y, log_det


def singular_values(block: Bijection, x: Tensor) -> Tensor:
    """Of the Jacobian at each input, by autograd, the greatest first."""

    def alone(x: Tensor) -> Tensor:
        y: Tensor = block(x.unsqueeze(0))[0]
        return y.flatten()

    jacobians: Tensor = torch.vmap(torch.func.jacrev(alone))(x.detach())
    values: Tensor = torch.linalg.svdvals(jacobians.detach().reshape(len(x), -1, x[0].numel()))
    return values


def check_composition(flow: Bijection, x: Tensor) -> None:
    path = layers(flow)
    assert [layer.place for layer in path] == list(range(len(path)))
    with torch.no_grad():
        y, log_det = flow(x)
        back, log_det_back = flow.inverse(y)
        for found, known in (
            (walked(path, x), (y, log_det)),
            (walked_back(path, y), (back, log_det_back)),
        ):
            for one, other in zip(found, known, strict=True):
                assert one.shape == other.shape
                torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", cases())
def test_the_layers_compose_to_every_architecture(case: str) -> None:
    flow, shape = network(case)
    check_composition(flow.eval(), gaussian(3, shape, scale=0.5))


@pytest.mark.parametrize("case", ["glow", "glow of three levels", "chains in chains"])
def test_what_is_run_backwards_is_taken_apart_as_well(case: str) -> None:
    if case == "chains in chains":
        inside = [Chain([LULinear(4, SOURCE), Inverse(Chain([coupling(4), ActNorm(4)]))])]
        flow: Bijection = Chain([ActNorm(4), Inverse(Chain(inside)), Inverse(Inverse(coupling(4)))])
        wanted = ["ActNorm", "Coupling: Affine, Sigmoid", "ActNorm", "Inverse of LULinear"]
        x = gaussian(3, (4,))
    else:
        levels = 3 if "three" in case else 2
        choice = {"name": "glow", "levels": levels, "steps": 1, "width": 4}
        shape = (1, 8, 8)
        forward = registry.build(
            "architecture", registry.resolve("architecture", choice), shape, SOURCE
        )
        flow, wanted = Inverse(forward), [f"Inverse of {name}" for name in ("Coupling: ", "LU")]
        x = gaussian(3, (64,))
    perturb(flow, 0)
    flow.double()
    check_composition(flow, x)
    names = [layer.block for layer in layers(flow)]
    for name in wanted:
        assert any(one.startswith(name) for one in names), names


def test_a_multi_scale_flow_has_a_layer_for_each_step_of_each_level() -> None:
    choice = registry.resolve("architecture", {"name": "glow", "levels": 3, "steps": 1, "width": 4})
    flow = registry.build("architecture", choice, (1, 8, 8), SOURCE)
    level = ["Squeeze", "ActNorm", "LULinear", "Coupling: Affine, Sigmoid"]
    names = [layer.block for layer in layers(flow)]
    assert names == [*level, "FactorOut", *level, "FactorOut", *level]


def test_what_is_finished_passes_the_later_levels() -> None:
    flow, shape = network("glow(transformer=additive, steps=1, width=8) on 1x8x8")
    path = layers(flow)
    first = next(n for n, layer in enumerate(path) if layer.block == "FactorOut")
    finished, _ = walked(path[: first + 1], gaussian(2, shape))
    latent, _ = flow(gaussian(2, shape))
    assert finished.shape == latent.shape
    assert torch.equal(finished[:, :32], latent[:, :32])
    assert not torch.isclose(finished[:, 32:], latent[:, 32:]).any()


def coupling(dimension: int) -> Coupling:
    half = dimension // 2
    return Coupling(half, Affine(Sigmoid(0.0)), mlp(half, 2 * (dimension - half), 8, 1, SOURCE))


def masked() -> MaskedAutoregressive:
    position = torch.arange(4)
    network = MaskedNetwork(4, 1, 8, 1, SOURCE, position=position, context=0)
    return MaskedAutoregressive(network, Additive())


def named() -> Bijection:
    block = coupling(4)
    block.block_name = "normflows AffineCouplingBlock"
    return block


@pytest.mark.parametrize(
    ("block", "name"),
    [
        (ActNorm(4), "ActNorm"),
        (coupling(4), "Coupling: Affine, Sigmoid"),
        (masked(), "MaskedAutoregressive: Additive"),
        (Inverse(masked()), "Inverse of MaskedAutoregressive: Additive"),
        (Residual(LipschitzNetwork(4, 8, 1, 0.9, SOURCE)), "Residual"),
        (Permutation.reverse(4), "Permutation"),
        (named(), "normflows AffineCouplingBlock"),
        (Inverse(named()), "Inverse of normflows AffineCouplingBlock"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_reader_knows_what_a_block_is(block: Bijection, name: str) -> None:
    assert block_name(block) == name
    assert [layer.block for layer in layers(block)] == [name]


def test_no_layer_is_named_by_its_address_or_unknown() -> None:
    for case in cases():
        for layer in layers(network(case)[0]):
            assert "0x" not in layer.block
            assert layer.block[0].isupper()


# Of maps on vectors whose Jacobian is D diagonal or of singular values D, by autograd.
@pytest.mark.parametrize(
    "block",
    [
        ActNorm(4),
        LULinear(4, SOURCE),
        Permutation.reverse(4),
        Inverse(LULinear(4, SOURCE)),
        Logit(),
    ],
    ids=block_name,
)
def test_the_scales_are_the_singular_values(block: Bijection) -> None:
    perturb(block, 0)
    block.double()
    x = torch.rand(3, 4, generator=generator(1, "path"), dtype=torch.float64)
    found = block.scales(x)
    known = singular_values(block, x)
    if found is None:
        assert torch.allclose(known, torch.ones(()).double())
    else:
        torch.testing.assert_close(found.detach().sort(1, descending=True).values, known)


@pytest.mark.parametrize("case", cases())
def test_a_block_that_claims_to_be_affine_is_and_has_its_scales_for_singular_values(
    case: str,
) -> None:
    flow, shape = network(case)
    x = gaussian(2, shape)
    for layer in layers(flow.eval()):
        block = layer.bijection
        y, _ = block(x)
        if block.is_affine:
            # An affine map takes the middle to the middle, however far apart its ends are.
            middle, _ = block(x.mean(0, keepdim=True))
            torch.testing.assert_close(middle, y.mean(0, keepdim=True), rtol=1e-9, atol=1e-9)
            known = singular_values(block, x[:1])[0]
            scales = block.scales(x)
            found = torch.ones(2, 1).double() if scales is None else scales.detach()
            assert float(found.max()) == pytest.approx(float(known[0]), rel=1e-9)
            assert float(found.min()) == pytest.approx(float(known[-1]), rel=1e-9)
        x = y.detach()


@pytest.mark.parametrize("case", cases())
def test_the_logs_of_the_scales_add_up_to_the_log_det(case: str) -> None:
    flow, shape = network(case)
    x = gaussian(2, shape, scale=0.5)
    for layer in layers(flow.eval()):
        with torch.no_grad():
            y, log_det = layer.bijection(x)
            scales = layer.bijection.scales(x)
            block = layer.bijection
            if scales is not None:
                given = block.given(x) if isinstance(block, Beside) else x
                # One for each channel, and one for each entry that a coupling changes.
                of_channels = scales.shape[1] == given.shape[1] and given.ndim > 2
                pixels = given[0, 0].numel() if of_channels else 1
                torch.testing.assert_close(
                    pixels * scales.log().sum(1), log_det, rtol=1e-8, atol=1e-8
                )
        x = y
