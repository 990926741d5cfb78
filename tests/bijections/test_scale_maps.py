import pytest
import torch

from harness import registry
from harness.bijections.scale_maps import ScaleMap

MAPS = [
    *registry.names("scale_map"),
    {"name": "sigmoid", "floor": 0.1},
    {"name": "bounded_sigmoid", "lower": 0.2},
    {"name": "bounded_exp", "limit": 5.0},
]


@pytest.mark.parametrize("given", MAPS, ids=str)
def test_value_log_and_reciprocal_agree_and_stay_in_range(given: object) -> None:
    scale: ScaleMap = registry.build("scale_map", registry.resolve("scale_map", given))
    h = torch.linspace(-30, 30, 601, dtype=torch.float64)
    value = scale.value(h)
    assert (value >= scale.lower).all()
    assert (value <= scale.upper).all()
    torch.testing.assert_close(scale.log(h), value.log(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(scale.reciprocal(h) * value, torch.ones_like(h))
    # The range is the infimum and supremum, not just some bound.
    assert value.min() == pytest.approx(scale.lower, abs=1e-6)
    if scale.upper < float("inf"):
        assert value.max() == pytest.approx(scale.upper, abs=1e-6)


@pytest.mark.parametrize("given", MAPS, ids=str)
def test_log_slope_is_the_derivative_of_the_log(given: object) -> None:
    scale: ScaleMap = registry.build("scale_map", registry.resolve("scale_map", given))
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
    ],
)
def test_known_values(given: str, at_zero: float) -> None:
    scale: ScaleMap = registry.build("scale_map", registry.resolve("scale_map", given))
    assert float(scale.value(torch.zeros((), dtype=torch.float64))) == pytest.approx(at_zero)


def test_the_log_of_a_vanished_sigmoid_is_still_finite() -> None:
    scale: ScaleMap = registry.build("scale_map", registry.resolve("scale_map", "sigmoid"))
    assert float(scale.log(torch.tensor(-200.0))) == pytest.approx(-198.0)
