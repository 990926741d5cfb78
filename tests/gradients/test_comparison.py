"""Angles and errors of vectors whose answers are known."""

import math

import pytest
import torch

from harness.gradients.comparison import angle, relative_error
from harness.seeding import generator


def at_an_angle(radians: float, size: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two vectors of 50 entries that far apart, one ``size`` times as long as the other."""
    drawn = torch.randn(2, 50, generator=generator(0, "vectors"), dtype=torch.float64)
    basis, _ = torch.linalg.qr(drawn.T)
    first, second = basis.unbind(1)
    return first, size * (math.cos(radians) * first + math.sin(radians) * second)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e30, 1e250, 1e-250])
@pytest.mark.parametrize("radians", [1e-12, 1e-9, 1e-3, 1.0, math.pi / 2, 3.0, math.pi - 1e-9])
def test_the_angle_is_right_however_small_it_is_and_however_long_they_are(
    radians: float, size: float
) -> None:
    u, v = at_an_angle(radians, size)
    assert float(angle(u, v)) == pytest.approx(radians, rel=1e-3, abs=1e-15)
    assert float(angle(v, u)) == float(angle(u, v))


def test_an_arc_cosine_sees_no_such_angle() -> None:
    u, v = at_an_angle(1e-9)
    assert float(torch.nn.functional.cosine_similarity(u, v, dim=0).clamp(-1, 1).acos()) in (
        0.0,
        pytest.approx(1.5e-8, abs=1e-8),  # one bit below 1
    )
    assert float(angle(u, v)) == pytest.approx(1e-9, rel=1e-6)


def test_the_same_vector_is_no_angle_apart() -> None:
    u, _ = at_an_angle(0.0)
    assert float(angle(u, u)) == 0
    # In float32 the two directions would differ in their last bits.
    assert float(angle(u.float(), 0.3 * u.float().double())) < 1e-15


@pytest.mark.parametrize(
    ("u", "v", "radians", "error"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.0, 0.0),
        ([0.0, 0.0], [1.0, 2.0], math.pi / 2, 1.0),
        ([1.0, 2.0], [0.0, 0.0], math.pi / 2, math.inf),
        ([3.0, 4.0], [-3.0, -4.0], math.pi, 2.0),
        ([3.0, 0.0], [3.0, 4.0], math.atan2(4, 3), 0.8),
        ([math.nan, 1.0], [1.0, 1.0], math.nan, math.nan),
        ([1.0, 1.0], [math.inf, 1.0], math.nan, math.nan),
        ([math.inf, 1.0], [1.0, 1.0], math.nan, math.nan),
        ([-math.inf, 1.0], [-math.inf, 1.0], math.nan, math.nan),
        ([math.nan, 0.0], [0.0, 0.0], math.nan, math.nan),
    ],
)
def test_what_is_zero_or_not_finite_has_an_answer(
    u: list[float], v: list[float], radians: float, error: float
) -> None:
    # Beside another row, for none may touch another.
    first, second = (torch.tensor([one, [1.0] * len(one)]) for one in (u, v))
    angles, errors = angle(first, second), relative_error(first, second)
    assert float(angles[0]) == pytest.approx(radians, nan_ok=True)
    assert float(errors[0]) == pytest.approx(error, nan_ok=True)
    assert float(angles[1]) == float(errors[1]) == 0
