"""The splines of zuko, nflows and normflows, on equal parameters."""

import importlib
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.bijections.transformers.spline_transformer import RationalQuadraticSpline
from tests.networks import gaussian

BINS, BOUND, COUNT = 6, 2.5, 300
MINIMA = {"minimum_width": 0.01, "minimum_height": 0.02, "minimum_slope": 0.005}


def _load(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        return importlib.import_module(module)


def _ours(maximum: float | None) -> tuple[RationalQuadraticSpline, Tensor, Tensor]:
    """The spline, its parameters, and inputs: one of three lies in a tail."""
    one = RationalQuadraticSpline(bins=BINS, bound=BOUND, maximum_slope=maximum, **MINIMA)
    h = gaussian(COUNT, (one.parameters_per_element,), 0, 1.5)
    return one, h, gaussian(COUNT, (1,), 1, scale=2.5)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "module", ["nflows.transforms.splines.rational_quadratic", "normflows.utils.splines"]
)
def test_values_and_log_slopes_are_those_of(module: str) -> None:
    theirs = _load(module)
    one, h, x = _ours(None)
    # They shift no slope, so that of parameters that are 0 is not 1.
    shift = math.log(math.expm1(1 - MINIMA["minimum_slope"]))
    widths, heights, slopes = (h[:, None, part] for part in _parts())
    for inverse, function in ((False, one), (True, one.inverse)):
        expected, log_slope = theirs.unconstrained_rational_quadratic_spline(
            x,
            widths,
            heights,
            slopes + shift,
            inverse=inverse,
            tail_bound=BOUND,
            min_bin_width=MINIMA["minimum_width"],
            min_bin_height=MINIMA["minimum_height"],
            min_derivative=MINIMA["minimum_slope"],
        )
        value, log = function(x, h)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
        # normflows moves its last knot by 1e-6.
        torch.testing.assert_close(log, log_slope, rtol=1e-5, atol=1e-5)


def _parts() -> tuple[slice, slice, slice]:
    return slice(0, BINS), slice(BINS, 2 * BINS), slice(2 * BINS, 3 * BINS - 1)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("maximum", [None, 10.0])
def test_values_and_log_slopes_are_those_of_zuko(maximum: float | None) -> None:
    """Its own map from parameters to knots is undone, so that the knots are the same."""
    zuko = _load("zuko")
    one, h, x = _ours(maximum)
    knots = one.knots(h)
    floor = 1e-9  # of its soft clip

    def unclipped(log: Tensor, factor: float) -> Tensor:
        return log / (1 - (factor * log / math.log(floor)).abs())

    theirs = zuko.transforms.MonotonicRQSTransform(
        *(unclipped(along.diff(dim=1).log().movedim(1, -1), 2) for along in (knots.x, knots.y)),
        unclipped(knots.slopes[:, 1:-1].log().movedim(1, -1), 1),
        bound=BOUND,
        slope=floor,
    )
    expected, log_slope = theirs.call_and_ladj(x)
    value, log = one(x, h)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log, log_slope, rtol=1e-9, atol=1e-9)
    back, inverse_log = one.inverse(value, h)
    torch.testing.assert_close(back, theirs.inv(value), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(
        inverse_log, theirs.inv.call_and_ladj(value)[1], rtol=1e-7, atol=1e-7
    )
