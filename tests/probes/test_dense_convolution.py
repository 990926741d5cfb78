"""Convolutions as products with a matrix are the same convolutions."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from harness.probes.dense_convolution import MOST_PIXELS, DenseConvolutions
from harness.seeding import generator


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (1, {}),
        (3, {"padding": 1}),
        (3, {"padding": (1, 1)}),
        (5, {"padding": 2}),
        (3, {}),
        (3, {"padding": 1, "stride": 2}),
        (3, {"padding": 2, "dilation": 2}),
        (3, {"padding": 1, "groups": 3}),
        (2, {"padding": 1}),
    ],
)
@pytest.mark.parametrize("side", [4, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_pytorch(
    size: int, options: dict[str, Any], side: int, bias: bool
) -> None:
    source = generator(0, "convolution")
    inside = 3 // options.get("groups", 1)
    shapes = (2, 3, side, side), (6, inside, size, size), (6,)
    x, weight, offset = (
        torch.randn(shape, generator=source, dtype=torch.float64).requires_grad_()
        for shape in shapes
    )
    given = (x, weight, offset if bias else None)
    expected = F.conv2d(*given, **options)
    with DenseConvolutions():
        found = F.conv2d(*given, **options)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (side * side <= MOST_PIXELS) == (side == 4)
    direction = torch.randn(expected.shape, generator=source, dtype=torch.float64)
    wanted = [x, weight, *([offset] if bias else [])]
    ours, theirs = (torch.autograd.grad(y, wanted, direction) for y in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_it_is_faster_ways_only_and_ends_with_its_block() -> None:
    x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    with DenseConvolutions():
        assert torch.equal(F.conv2d(x, weight, padding=1), torch.conv2d(x, weight, padding=1))
    assert F.conv2d(x, weight, padding=1).dtype == torch.float32
