"""Dequantization by a given noise: a bijection for any noise, and levels that come back."""

import math

import pytest
import torch
from torch import Tensor

from harness.bijections.box import Box
from harness.bijections.shape.dequantization import Dequantization
from harness.conformance.jacobians import jacobians
from harness.datasets.digits import digits
from harness.seeding import generator
from tests.networks import gaussian


def noise_like(x: Tensor) -> Tensor:
    """On a grid of 2⁻¹⁶, as that of the datasets."""
    drawn = torch.randint(2**16, x.shape, generator=generator(0, "noise"))
    return (drawn / 2**16).to(x.dtype)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_for_a_given_noise_it_is_a_bijection(shape: tuple[int, ...]) -> None:
    block, x = Dequantization(8), gaussian(5, shape)
    u = noise_like(x)
    y, log_det = block(x, u)
    back, back_log_det = block.inverse(y, u)
    torch.testing.assert_close(back, x, rtol=1e-12, atol=1e-12)
    matrices = jacobians(lambda some: block(some, u[: len(some)]), x)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(matrices).logabsdet)
    torch.testing.assert_close(back_log_det, -log_det)
    values = torch.linalg.svdvals(matrices)
    assert block.bounds() == pytest.approx((float(values.max()), 1 / float(values.min())))
    image = block.image(Box.of(x))
    assert ((y >= image.lower) & (y <= image.upper)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noise", [0.0, 2**-16, 0.5, 1 - 2**-16])
def test_levels_come_back_of_any_count_at_the_ends_of_the_noise(
    noise: float, dtype: torch.dtype
) -> None:
    for count in range(1, 257):
        x = torch.arange(count, dtype=dtype).unsqueeze(1)
        block = Dequantization(count)
        y, _ = block(x, torch.full_like(x, noise))
        assert torch.equal(block.levels(y), x), count


@pytest.mark.parametrize("count", [2, 17, 256])
def test_levels_come_back_exactly_whatever_the_noise_was(count: int) -> None:
    x = torch.arange(count).repeat(50).float().unsqueeze(1)
    block, u = Dequantization(count), noise_like(x)
    y, _ = block(x, u)
    assert torch.equal(block.levels(y), x)
    assert float(y.min()) >= 0
    assert float(y.max()) < 1
    assert math.isclose(float(u.mean()), 0.5, abs_tol=0.1)


def test_it_agrees_with_that_of_a_dataset() -> None:
    dataset = digits()
    raw = dataset.read().test[:20]
    noise = dataset.noise(raw.shape, generator(0, "noise"))
    x = raw.float()
    y, _ = Dequantization(17)(x, noise / 2**16)
    assert dataset.levels == 17
    torch.testing.assert_close(dataset.dequantize(raw, noise), y - 0.5)


def test_what_does_not_fit_is_told() -> None:
    block, x = Dequantization(4), torch.zeros(2, 3)
    with pytest.raises(ValueError, match="Dequantization: count must be at least 1, not 0"):
        Dequantization(0)
    misfits = {
        "none was given": None,
        r"not of shape \(1, 3\)": torch.zeros(1, 3),
        "'context' is torch.float64 on cpu, and the input torch.float32": torch.zeros(
            2, 3
        ).double(),
    }
    for sentence, context in misfits.items():
        for function in (block, block.inverse):
            with pytest.raises(ValueError, match=sentence):
                function(x, context)
