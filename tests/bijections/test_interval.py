"""Conditioners on boxes: their images, and Lipschitz bounds of some of their outputs."""

import pytest
import torch
from torch import Tensor, nn

from harness.bijections import interval
from harness.bijections.box import Box
from harness.bijections.coupling.networks import (
    Conditioner,
    convolution,
    convolutional_network,
    mlp,
)
from harness.bijections.coupling.residual_mlp import ResidualBlock, ResidualMLP
from harness.registry import Shape
from harness.seeding import generator
from tests.bijections.coupling.test_coupling_bounds import inside
from tests.networks import gaussian, perturb

NETWORKS: dict[str, tuple[nn.Module, Shape]] = {
    "mlp": (mlp(3, 4, 8, 3, generator(0, "n")), (3,)),
    "residual mlp": (ResidualMLP(3, 4, 8, 2, generator(0, "n")), (3,)),
    "convolutions": (convolutional_network(2, 3, 4, generator(0, "n")), (2, 3, 4)),
    "without bias": (Conditioner([nn.Linear(3, 4, bias=False)]), (3,)),
}


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("radius", [1e-3, 1.0, 30.0])
def test_a_networks_image_and_slope_hold(case: str, radius: float) -> None:
    network, shape = NETWORKS[case]
    network = network.double()
    perturb(network, 0, 0.3)
    box = Box(gaussian(1, shape)[0] - radius, gaussian(1, shape)[0] + radius)
    image: Box = network.image(box)  # type: ignore[operator]
    x = inside(box, 500)
    h = network(x).detach()
    assert (h >= image.lower - 1e-9).all()
    assert (h <= image.upper + 1e-9).all()
    outputs = h[0].numel() // len(h[0])
    for rows in (slice(None), slice(2), slice(2, None)):

        def flat(one: Tensor, rows: slice = rows) -> Tensor:
            return network(one.unsqueeze(0))[0][rows].flatten()  # type: ignore[no-any-return]

        jacobians = torch.func.vmap(torch.func.jacrev(flat))(x[:50]).flatten(2).detach()
        found = float(torch.linalg.matrix_norm(jacobians, ord=2).max())
        assert found <= network.lipschitz(rows)  # type: ignore[operator]
    if radius < 1e-2:  # in a small box little is lost
        assert (image.upper - image.lower).max() < 200 * outputs * radius


def test_a_residual_block_that_adds_nothing_is_the_identity() -> None:
    block = ResidualBlock(3, generator(0, "n"))
    with torch.no_grad():
        block.second.weight.zero_()
        block.second.bias.zero_()
    assert block.lipschitz() == 1
    box = Box.of(gaussian(4, (3,)))
    assert all(torch.equal(*ends) for ends in zip(block.image(box), box, strict=True))


def test_silu_of_an_interval() -> None:
    for a, b in ((-3.0, 2.0), (-1.5, -1.0), (-9.0, -4.0), (0.5, 3.0), (-1.2, 0.1), (-2.0, -2.0)):
        h = torch.linspace(a, b, 100_001, dtype=torch.float64)
        values = nn.functional.silu(h)
        box = interval.silu(Box(h[:1], h[-1:]))
        assert float(box.lower) <= float(values.min()) <= float(box.lower) + 1e-9
        assert float(box.upper) == float(values.max())


def test_a_convolution_of_a_box_reaches_its_ends() -> None:
    layer = convolution(1, 1, 3, generator(0, "c")).double()
    centre = gaussian(1, (1, 3, 3))[0]
    image = interval.layer(layer, Box(centre - 1, centre + 1))
    weights = layer.weight.detach()[0, 0]
    corner = centre + weights.sign()  # for the pixel in the middle
    reached = layer(corner.unsqueeze(0)).detach()[0, 0, 1, 1]
    assert float(image.upper[0, 1, 1]) == pytest.approx(float(reached))
