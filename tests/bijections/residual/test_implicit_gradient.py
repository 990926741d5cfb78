"""The gradient of an inverse that iterates, against autograd through the iteration."""

import pytest
import torch
from torch import Tensor

from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.seeding import generator
from tests.networks import gaussian, perturb


def unrolled(block: Residual, y: Tensor) -> Tensor:
    """``x ← y - g(x)``, 200 times; autograd follows each step."""
    x = y
    for _ in range(200):
        x = y - block.network(x)
    return x


@pytest.mark.parametrize("accelerated", [False, True])
def test_it_is_that_of_the_unrolled_iteration(accelerated: bool) -> None:
    network = LipschitzNetwork(5, 16, 2, 0.9, generator(0, "network"))
    perturb(network, 0)
    block = Residual(network, accelerated=accelerated).double().eval()
    y = gaussian(6, (5,), scale=3).double().requires_grad_()
    towards = gaussian(6, (5,), seed=1).double()
    wanted = [y, *block.parameters()]

    x, _, report = block.inverse_with_convergence(y)
    found = torch.autograd.grad((x * towards).sum(), wanted)
    slow = unrolled(block, y)
    expected = torch.autograd.grad((slow * towards).sum(), wanted)

    assert bool(report.converged.all())
    torch.testing.assert_close(x, slow, rtol=1e-12, atol=1e-12)
    for one, other in zip(found, expected, strict=True):
        assert float(other.abs().max()) > 1e-3
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_it_is_that_of_differences() -> None:
    network = LipschitzNetwork(3, 8, 2, 0.9, generator(1, "network"))
    perturb(network, 1)
    block = Residual(network).double().eval()
    y = gaussian(2, (3,), seed=2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: block.inverse(y)[0], y, atol=1e-6, rtol=1e-5)
