"""Bounds of weights so large or small that float64 ends: numbers above 0, or inf."""

import pytest
import torch

from harness import registry
from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.conformance.registered import candidate


@pytest.mark.parametrize("name", registry.names("architecture"))
def test_a_bound_is_never_zero_nor_nan(name: str) -> None:
    subject = candidate(registry.resolve("architecture", name))
    flow = subject.fresh()
    side = torch.full(subject.shape, 1e-3, dtype=torch.float64)
    for size in (1e30, -1e30, 1e300, 1e-30):
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.fill_(size)
        for bounds in (flow.bounds(), flow.bounds(Box(-side, side))):
            assert all(bound > 0 for bound in bounds), (size, bounds)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([(1e-300, 1e300), (1e-300, 1e300)], (2.0**-1022, float("inf"))),
        ([(0.0, 2.0), (float("inf"), 3.0)], (float("inf"), 6.0)),
        ([(float("nan"), 2.0), (1.0, 0.25)], (float("inf"), 0.5)),
    ],
)
def test_a_product_is_rounded_up(
    bounds: list[tuple[float, float]], expected: tuple[float, float]
) -> None:
    first, second = (BiLipschitz(*one) for one in bounds)
    assert first.then(second) == expected
