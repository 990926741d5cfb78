import pytest
import torch

from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.spectral import convolution_upper_bound, gram_upper_bound
from harness.seeding import generator

SIZES = [(1, 1), (3, 7), (7, 3), (64, 64), (64, 8), (512, 1), (1, 512)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1.0, 1e12, 1e25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gram_bound_is_above_the_norm_and_near(
    size: tuple[int, int], scale: float, dtype: torch.dtype
) -> None:
    weight = (scale * torch.randn(size, generator=generator(0, "gram"))).to(dtype)
    norm = torch.linalg.matrix_norm(weight.double(), ord=2)
    bound = gram_upper_bound(weight).double()
    rounding = 1 + (200 + 2 * sum(size)) * torch.finfo(dtype).eps
    assert norm <= bound <= norm * min(size) ** (1 / 2**8) * rounding


def test_gram_bound_of_a_known_norm() -> None:
    left, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator(0, "q"), dtype=torch.float64))
    weight = left @ torch.diag(torch.tensor([4.0, 1.0, 1.0, 0.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(gram_upper_bound(weight), torch.tensor(4.0, dtype=torch.float64))


def test_gram_bound_of_zero_is_harmless() -> None:
    weight = torch.zeros(3, 3, requires_grad=True)
    bound = gram_upper_bound(weight)
    bound.backward()  # type: ignore[no-untyped-call]
    assert 0 <= bound < 1e-6
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_gram_bound_differentiates_as_the_norm() -> None:
    weight = torch.randn(4, 4, generator=generator(1, "gram"), dtype=torch.float64)
    weight.requires_grad_()
    (slope,) = torch.autograd.grad(gram_upper_bound(weight, iterations=10), weight)
    u, _, v = torch.linalg.svd(weight.detach())
    torch.testing.assert_close(slope, torch.outer(u[:, 0], v[0]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0])
def test_a_normalised_weight_has_a_slope_wherever_it_is(scale: float) -> None:
    network = LipschitzNetwork(2, 3, 1, 0.9, generator(0, "slope"))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    network(torch.ones(4, 2)).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(one is not None and one.isfinite().all() for one in gradients)


@pytest.mark.parametrize("size", [(4, 4), (3, 7), (7, 3), (1, 5)])
@pytest.mark.parametrize("iterations", [1, 6])
def test_gram_bound_has_the_slope_of_its_differences(
    size: tuple[int, int], iterations: int
) -> None:
    weight = torch.randn(size, generator=generator(2, "gram"), dtype=torch.float64)
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: gram_upper_bound(w, iterations), weight)


@pytest.mark.parametrize("seed", range(3))
def test_convolution_bound_is_above_the_operator_norm(seed: int) -> None:
    kernel = torch.randn(3, 2, 3, 3, generator=generator(seed, "kernel"), dtype=torch.float64)
    basis = torch.eye(2 * 6 * 6, dtype=torch.float64).reshape(-1, 2, 6, 6)
    operator = torch.nn.functional.conv2d(basis, kernel, padding=1).flatten(1)
    norm = float(torch.linalg.matrix_norm(operator, ord=2))
    reshaped = float(torch.linalg.matrix_norm(kernel.flatten(1), ord=2))
    assert reshaped < norm <= convolution_upper_bound(kernel) < 3 * norm
