"""How often the bootstrap's intervals hold the truth, as the board's footnote says."""

import numpy as np
import pytest

from harness.leaderboard.statistics import (
    COVERAGE,
    finite_mean,
    interquartile_mean,
    interval,
    resampled,
)

BOARDS, DRAWS = 1500, 400


@pytest.mark.parametrize("datasets", COVERAGE)
@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_intervals_hold_the_truth_as_often_as_is_said(datasets: int, seeds: int) -> None:
    """As the board does it: seeds drawn within each dataset, then averaged over datasets."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(BOARDS):
        logs = generator.normal(size=(datasets, 1, seeds))  # the true mean is 0
        drawn = [finite_mean(resampled(log, DRAWS, generator))[:, 0] for log in logs]
        low, high = interval(interquartile_mean(np.stack(drawn, axis=-1)))
        held += low <= 0 <= high
    three_sigma = 300 * np.sqrt(0.25 / BOARDS)
    assert 100 * held / BOARDS == pytest.approx(COVERAGE[datasets][seeds], abs=three_sigma)
