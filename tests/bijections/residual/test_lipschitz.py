"""Activations and networks of certified Lipschitz constant, against explicit matrices."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from harness.bijections.residual import contraction
from harness.bijections.residual.activations import ACTIVATIONS
from harness.bijections.residual.contraction import Contraction
from harness.bijections.residual.convolution_norm import (
    convolution_gram_bound,
    convolution_norm_bound,
)
from harness.bijections.residual.lipschitz_convolutions import LipschitzConvolutions
from harness.bijections.residual.lipschitz_dense import LipschitzDense
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.registry import Shape
from harness.seeding import generator
from tests.networks import gaussian, perturb

IMAGE: Shape = (2, 4, 3)


def operator_norm(kernel: torch.Tensor, size: tuple[int, int]) -> float:
    """Of the explicit matrix of the convolution with zero padding."""
    inputs = kernel.shape[1] * size[0] * size[1]
    basis = torch.eye(inputs, dtype=torch.float64).reshape(inputs, -1, *size)
    matrix = F.conv2d(basis, kernel.double(), padding=kernel.shape[-1] // 2).flatten(1)
    return float(torch.linalg.matrix_norm(matrix, ord=2))


def contractions() -> dict[str, Contraction]:
    source = generator(0, "contractions")
    found: dict[str, Contraction] = {}
    for name, activation in ACTIVATIONS.items():
        found[f"linear, {name}"] = LipschitzNetwork(5, 4, 2, 0.9, source, activation)
        found[f"narrow, {name}"] = LipschitzNetwork(6, 2, 1, 0.9, source, activation)
        found[f"convolutions, {name}"] = LipschitzConvolutions(IMAGE, 4, 0.9, source, activation)
        found[f"dense vectors, {name}"] = LipschitzDense((3,), 4, 2, 0.9, source, activation)
        found[f"dense images, {name}"] = LipschitzDense(IMAGE, 4, 2, 0.9, source, activation)
    return found


def jacobians(network: Contraction, x: torch.Tensor) -> torch.Tensor:
    """By autograd, one sample at a time, ``(B, D, D)``."""
    found = [
        torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda v, like=one: network(v.reshape(1, *like.shape)).flatten(), one.flatten()
        )
        for one in x
    ]
    return torch.stack(found)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_their_derivative_and_constant(name: str) -> None:
    activation = ACTIVATIONS[name]
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64).unsqueeze(1).requires_grad_()
    y = activation.function(x)
    slopes = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0] for column in y.unbind(1)]
    assert len(slopes) == activation.growth
    found = activation.derivative(x.detach())
    torch.testing.assert_close(torch.cat(slopes, 1), found)
    largest = float(torch.linalg.vector_norm(found, dim=1).max())
    assert 0.999 < largest <= 1


@pytest.mark.parametrize("taps", [1, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 6)])
@pytest.mark.parametrize("channels", [(1, 1), (3, 2), (2, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_convolution_bounds_are_above_the_operator_norm(
    taps: int, size: tuple[int, int], channels: tuple[int, int], dtype: torch.dtype
) -> None:
    shape = (*channels, taps, taps)
    for scale in (1e-12, 1.0, 1e12):
        kernel = (scale * torch.randn(shape, generator=generator(taps, "kernel"))).to(dtype)
        norm = operator_norm(kernel, size)
        gram, exact = convolution_gram_bound(kernel, size), convolution_norm_bound(kernel, size)
        assert norm <= exact * (1 + 1e-12)
        assert exact <= float(gram) * (1 + 1e-12) <= 1.01 * exact
        if min(size) > taps:
            assert exact < 1.5 * norm


def test_the_reshaped_kernel_underestimates_and_the_bound_is_reached() -> None:
    """Of a kernel of ones on a large image the norm is 9 and the reshaped kernel's is 3."""
    kernel = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    norm = operator_norm(kernel, (24, 24))
    assert float(torch.linalg.matrix_norm(kernel.flatten(1), ord=2)) < 0.4 * norm
    assert 0.95 * 9 < norm <= convolution_norm_bound(kernel, (24, 24)) <= 9 * (1 + 1e-12)


def test_the_convolution_bound_has_the_slope_of_its_differences() -> None:
    kernel = torch.randn(3, 2, 3, 3, generator=generator(3, "kernel"), dtype=torch.float64)
    kernel.requires_grad_()
    assert torch.autograd.gradcheck(lambda k: convolution_gram_bound(k, (4, 5)), kernel)


@pytest.mark.parametrize("name", contractions())
def test_jacobians_are_those_of_autograd(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contraction, "IN_CACHE", 2 * math.prod(IMAGE))  # images in two parts
    network = contractions()[name].double()
    perturb(network, 1, 0.3)
    x = gaussian(3, network.shape)
    expected = jacobians(network, x)
    value, found = network.value_and_jacobian(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(value, network(x))
    value, tangent = network.linearize(x)
    v = gaussian(3, network.shape, seed=1)
    along = (expected @ v.flatten(1).unsqueeze(2)).reshape(v.shape)
    torch.testing.assert_close(tangent(v), along)
    torch.testing.assert_close(value, network(x))
    core = network.value_and_core(x)[1]
    logs = [torch.linalg.slogdet(torch.eye(len(m[0])) + m).logabsdet for m in (core, expected)]
    torch.testing.assert_close(*logs)


@pytest.mark.parametrize("name", contractions())
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_jacobian_exceeds_the_constant(name: str, factor: float, dtype: torch.dtype) -> None:
    network = contractions()[name].to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(factor)
    bound = network.lipschitz()
    # The weights as they are used, rounding included, in a precision without more of it.
    assert 0 < bound <= 0.9 * (1 + 4 * torch.finfo(dtype).eps)
    network = network.double()
    x = torch.cat([gaussian(4, network.shape), 30 * gaussian(4, network.shape)])
    for _ in range(3):  # by gradient ascent on the norm
        x.requires_grad_()
        norms = torch.linalg.matrix_norm(network.value_and_jacobian(x)[1], ord=2)
        assert float(norms.detach().max()) <= bound * (1 + 10 * torch.finfo(dtype).eps)
        (slope,) = torch.autograd.grad(norms.sum(), x)
        x = x.detach() + slope.sign() / 2


def test_a_constant_is_reached() -> None:
    """Bias and weights so that each activation is where it is steepest."""
    network = LipschitzConvolutions((1, 3, 3), 1, 0.8, generator(0, "n"), ACTIVATIONS["elu"])
    with torch.no_grad():
        for layer in network.layers:
            layer.weight.zero_()  # type: ignore[operator]
            middle = layer.weight.shape[-1] // 2  # type: ignore[index]
            layer.weight[..., middle, middle] = 5.0  # type: ignore[operator]
            layer.bias.fill_(9.0)  # type: ignore[operator]
    network.double()
    norm = torch.linalg.matrix_norm(network.value_and_jacobian(gaussian(1, (1, 3, 3)))[1], ord=2)
    assert float(norm.detach()) == pytest.approx(network.lipschitz(), rel=1e-9)


@pytest.mark.parametrize("name", contractions())
def test_weights_that_are_not_finite_bound_nothing(name: str) -> None:
    network = copy.deepcopy(contractions()[name])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
    assert not network.lipschitz() < 1


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("coefficient", lambda g: LipschitzNetwork(3, 4, 1, 1.0, g)),
        ("coefficient", lambda g: LipschitzConvolutions(IMAGE, 4, 0.0, g)),
        ("coefficient", lambda g: LipschitzDense((3,), 4, 1, 1.5, g)),
        ("shape", lambda g: LipschitzConvolutions((3,), 4, 0.9, g)),
        ("shape", lambda g: LipschitzDense((3, 3), 4, 1, 0.9, g)),
        ("width", lambda g: LipschitzConvolutions(IMAGE, 0, 0.9, g)),
        ("growth", lambda g: LipschitzDense((3,), 3, 1, 0.9, g, ACTIVATIONS["clip_swish"])),
        ("depth", lambda g: LipschitzDense((3,), 4, 0, 0.9, g)),
    ],
)
def test_bad_arguments_are_named(argument: str, make: object) -> None:
    with pytest.raises(ValueError, match=argument):
        make(generator(0, "bad"))  # type: ignore[operator]
