import math

import pytest
import torch

from harness import registry
from harness.bijections.box import Box
from harness.bijections.scale_maps import ScaleMap

MAPS = [
    *registry.names("scale_map"),
    {"name": "sigmoid", "floor": 0.1},
    {"name": "bounded_sigmoid", "lower": 0.2},
    {"name": "bounded_exp", "limit": 5.0},
    {"name": "arctan_clamp", "limit": 1.5},
    {"name": "centred_sigmoid", "lower": 0.01},
    {"name": "soft_clip", "limit": 3.0},  # steepest at 0, where at 1000 it is far to the right
    {"name": "softplus", "floor": 0.5},
]


def built(given: object) -> ScaleMap:
    scale: ScaleMap = registry.build("scale_map", registry.resolve("scale_map", given))
    return scale


@pytest.mark.parametrize("given", MAPS, ids=str)
def test_value_log_and_reciprocal_agree_and_stay_in_range(given: object) -> None:
    scale = built(given)
    h = torch.linspace(-30, 30, 601, dtype=torch.float64)
    value = scale.value(h)
    assert (value >= scale.lower).all()
    assert (value <= scale.upper).all()
    torch.testing.assert_close(scale.log(h), value.log(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(scale.reciprocal(h) * value, torch.ones_like(h))
    for pair, alone in (
        (scale.value_and_log(h), (value, scale.log(h))),
        (scale.reciprocal_and_log(h), (scale.reciprocal(h), -scale.log(h))),
    ):
        torch.testing.assert_close(pair, alone, rtol=0, atol=0)
    # The range is the infimum and supremum, not just some bound.
    ends = scale.value(torch.tensor([-1e12, 1e12], dtype=torch.float64)).tolist()
    assert ends == pytest.approx([scale.lower, scale.upper], rel=1e-6, abs=1e-12) or (
        scale.upper == math.inf
        and ends[0] == pytest.approx(scale.lower, abs=1e-6)
        and ends[1] > 1e11
    )


@pytest.mark.parametrize("given", MAPS, ids=str)
def test_log_slope_is_the_derivative_of_the_log(given: object) -> None:
    scale = built(given)
    h = torch.linspace(-20, 20, 401, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(scale.log(h).sum(), h)
    torch.testing.assert_close(scale.log_slope(h.detach()), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "at_zero"),
    [
        ("exp", 1.0),
        ("sigmoid", 0.8807970779778823),
        ("bounded_sigmoid", 0.9403985389889412),
        ("bounded_exp", 1.0),
        ("arctan_clamp", 1.0),
        ("centred_sigmoid", 1.0),
        ("soft_clip", 1.0),
        ("softplus", 1.0),
    ],
)
def test_known_values(given: str, at_zero: float) -> None:
    scale = built(given)
    assert float(scale.value(torch.zeros((), dtype=torch.float64))) == pytest.approx(at_zero)


def test_the_log_of_a_vanished_sigmoid_is_still_finite() -> None:
    scale = built("sigmoid")
    assert float(scale.log(torch.tensor(-200.0))) == pytest.approx(-198.0)


@pytest.mark.parametrize(
    ("given", "h", "expected"),
    [
        # zuko: log s = a / (1 + |a / log slope|) with slope 1e-3, at a = 2.
        ("soft_clip", 2.0, 2 / (1 + 2 / math.log(1000))),
        # FrEIA: log s = clamp (2/π) atan(a) with clamp 2, at a = -1.
        ("arctan_clamp", -1.0, -1.0),
        # FrEIA's tanh clamp of 2, by a limit of e².
        ({"name": "bounded_exp", "limit": math.exp(2)}, 0.3, 2 * math.tanh(0.3)),
        # naffine: (2σ(s) - 1)(1 - ε) + 1 with ε = 0.1, at σ(s) = 3/4.
        ("centred_sigmoid", math.log(3), math.log(1.45)),
    ],
)
def test_the_logs_of_others(given: object, h: float, expected: float) -> None:
    assert float(built(given).log(torch.tensor(h, dtype=torch.float64))) == pytest.approx(expected)


INTERVALS = [(-40, 40), (-3, -1), (-1, 0.5), (0.3, 4), (5, 30), (-30, -6), (-2, -2), (0, 1e-3)]


@pytest.mark.parametrize("given", MAPS, ids=str)
def test_on_an_interval_nothing_is_larger_and_something_as_large(given: object) -> None:
    scale = built(given)
    h = torch.stack([torch.linspace(a, b, 200_001, dtype=torch.float64) for a, b in INTERVALS], 1)
    h.requires_grad_()
    value, log = scale.value(h), scale.log(h)
    slope, log_slope = (torch.autograd.grad(one.sum(), h)[0] for one in (value, log))
    box = Box(h[0].detach(), h[-1].detach())
    reached = scale.range_on(box)
    torch.testing.assert_close(reached.lower, value.detach().amin(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(reached.upper, value.detach().amax(0), rtol=1e-12, atol=0)
    logs = scale.log_range_on(box)
    torch.testing.assert_close(logs.lower, log.detach().amin(0), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(logs.upper, log.detach().amax(0), rtol=1e-12, atol=1e-15)
    for claimed, found in (
        (scale.largest_slope(box), slope.amax(0)),
        (scale.largest_log_slope(box), log_slope.amax(0)),
    ):
        assert (found <= claimed * (1 + 1e-9)).all()
        torch.testing.assert_close(claimed, found, rtol=1e-5, atol=0)
    assert (slope >= 0).all()
    assert (log_slope >= 0).all()


@pytest.mark.parametrize("given", MAPS, ids=str)
def test_on_the_whole_line_its_limits_and_what_is_lost_stays_lost(given: object) -> None:
    scale = built(given)
    infinite = torch.tensor([math.inf], dtype=torch.float64)
    line = Box(-infinite, infinite)
    assert [float(end) for end in scale.range_on(line)] == [scale.lower, scale.upper]
    assert scale.log_range_on(line).upper == (
        math.log(scale.upper) if scale.upper < math.inf else math.inf
    )
    assert scale.log_range_on(line).lower.exp() == pytest.approx(scale.lower)
    h = torch.linspace(-60, 60, 100_001, dtype=torch.float64)
    assert scale.slope(h).max() <= scale.largest_slope(line) * (1 + 1e-12)
    assert scale.log_slope(h).max() <= scale.largest_log_slope(line) * (1 + 1e-12)
    torch.testing.assert_close(scale.slope(h), scale.value(h) * scale.log_slope(h))
    for lost in (Box(infinite * math.nan, infinite), Box(-infinite, infinite * math.nan)):
        assert scale.largest_slope(lost).isnan().all()
        # That of exp is 1 whatever h is.
        assert given == "exp" or scale.largest_log_slope(lost).isnan().all()
