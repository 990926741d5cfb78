"""Bounds after 200 training steps, in float64 and in float32, where they are seldom looked at."""

import math
from typing import Any

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.conformance.bounds import bounds_on_a_box, global_bounds
from harness.conformance.jacobians import extremes, jacobians
from harness.conformance.registered import candidate
from harness.conformance.training import trained
from harness.registry import Shape
from tests.conformance import assert_passed

SPLINE = {"name": "rational_quadratic_spline", "bins": 4}
MAF, IAF = {"name": "maf", "blocks": 1, "width": 8}, {"name": "iaf", "blocks": 1, "width": 8}
IMAGE: Shape = (1, 2, 2)
CASES: dict[str, tuple[dict[str, Any], Shape]] = {
    "maf, additive": ({**MAF, "transformer": "additive"}, (3,)),
    "maf, spline": ({**MAF, "transformer": SPLINE}, (3,)),
    "iaf, additive": ({**IAF, "transformer": "additive"}, (3,)),
    "iaf, spline": ({**IAF, "transformer": SPLINE}, (2,)),
    "mixture": ({"name": "flow_plus_plus", "couplings": 1, "width": 8, "components": 3}, (2,)),
    "residual": ({"name": "residual_image", "levels": 1, "blocks": 1, "width": 4}, IMAGE),
    "dense": ({"name": "i_densenet", "levels": 1, "blocks": 1, "growth": 4, "depth": 1}, IMAGE),
}


@pytest.mark.parametrize("case", CASES)
def test_bounds_hold_after_training_in_both_precisions(case: str) -> None:
    given, shape = CASES[case]
    flow, x, told = trained(candidate(registry.resolve("architecture", given), shape))
    assert_passed(told)
    x = x[:6]
    assert_passed(global_bounds(flow, {"data": x, "ten times data": 10 * x}))
    assert_passed(bounds_on_a_box(flow, Box.of(x), climb=False))
    finite = all(map(math.isfinite, flow.bounds()))
    assert finite == (case != "mixture")
    small = Box(x[0] - 1e-3, x[0] + 1e-3)
    assert all(map(math.isfinite, flow.bounds(small)))
    in_float32(flow.float(), x, small)


def in_float32(flow: Bijection, x: torch.Tensor, small: Box) -> None:
    """What autograd finds in float32 is within the bounds of float32's weights, to its rounding."""
    for claimed, given in (
        (flow.bounds(), torch.cat([x, 10 * x])),
        (flow.bounds(small), small.lower.unsqueeze(0)),
    ):
        matrices = jacobians(flow, given.float()).double()
        largest, smallest = extremes(matrices)
        room = 1e-5 * float(largest.max() / smallest.min())
        assert room < 1  # else σ_min is lost in rounding, and what it is held to says nothing
        assert float(largest.max()) <= claimed.forward * (1 + 1e-5)
        assert float(1 / smallest.min()) <= claimed.inverse * (1 + room)
