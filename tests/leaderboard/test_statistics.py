"""The statistics against scipy, and their rules on NaN and inf."""

import math

import numpy as np
import pytest
import scipy.stats

from harness.leaderboard.statistics import (
    finite_mean,
    interquartile_mean,
    interval,
    ranks,
    resampled,
    smallest_p,
    wilson,
)

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("n", range(1, 14))
def test_interquartile_mean_is_scipys_trimmed_mean(n: int) -> None:
    values = RANDOM.normal(size=(5, n))
    np.testing.assert_allclose(interquartile_mean(values), scipy.stats.trim_mean(values, 0.25, 1))


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_interquartile_mean_leaves_out_what_is_not_finite(lost: float) -> None:
    values = RANDOM.normal(size=9)
    mixed = RANDOM.permutation(np.append(values, [lost] * 4))
    np.testing.assert_allclose(interquartile_mean(mixed), scipy.stats.trim_mean(values, 0.25))
    assert math.isnan(interquartile_mean(np.array([lost, lost])))


def test_finite_mean() -> None:
    given = np.array([[1.0, 3.0, np.nan], [np.inf, -np.inf, 5.0], [np.nan, np.inf, np.nan]])
    np.testing.assert_array_equal(finite_mean(given), [2.0, 5.0, np.nan])
    assert math.isnan(finite_mean(np.empty(0)))


@pytest.mark.parametrize("seed", range(20))
def test_ranks_are_scipys_with_ties(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first = generator.integers(3, size=12) / 3
    second = generator.integers(3, size=12) / 7
    np.testing.assert_array_equal(ranks(first), scipy.stats.rankdata(first))
    both = first * 1000 + second  # lexicographic, as one number
    np.testing.assert_array_equal(ranks(first, second), scipy.stats.rankdata(both))


def test_ranks_take_nan_and_inf_for_the_worst() -> None:
    given = np.array([np.nan, 1.0, np.inf, 0.0])
    np.testing.assert_array_equal(ranks(given), [3.5, 2.0, 3.5, 1.0])
    first = np.array([0.0, 0.0, 1.0, np.nan])
    second = np.array([np.nan, 9.0, 0.0, 0.0])
    np.testing.assert_array_equal(ranks(first, second), [2.0, 1.0, 3.0, 4.0])


def test_ranks_do_not_see_the_order_of_a_sum() -> None:
    one, other = (0.1 + 0.2 + 0.3) / 3, (0.3 + 0.2 + 0.1) / 3
    assert one != other
    np.testing.assert_array_equal(ranks(np.array([one, other])), [1.5, 1.5])


def test_ranks_of_many_draws_at_once() -> None:
    given = RANDOM.normal(size=(7, 2, 5))
    np.testing.assert_array_equal(ranks(given), scipy.stats.rankdata(given, axis=-1))


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 3), (2, 3), (5, 10), (10, 10), (7, 400)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    oracle = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(k, n), (oracle.low, oracle.high), atol=1e-12)


def test_wilson_without_trials_knows_nothing() -> None:
    assert all(map(math.isnan, wilson(0, 0)))


@pytest.mark.parametrize("n", range(2, 12))
def test_smallest_p_is_wilcoxons(n: int) -> None:
    oracle = scipy.stats.wilcoxon(np.arange(1.0, n + 1), method="exact").pvalue
    assert smallest_p(n) == pytest.approx(oracle)


def test_smallest_p_is_a_probability() -> None:
    assert smallest_p(0) == smallest_p(1) == 1.0


def test_the_bootstrap_is_scipys_within_its_noise() -> None:
    values = np.random.default_rng(1).normal(size=(1, 30))
    drawn = resampled(values, 20_000, np.random.default_rng(2))
    assert drawn.shape == (20_000, 1, 30)
    found = interval(finite_mean(drawn)[:, 0])
    oracle = scipy.stats.bootstrap(
        (values[0],), np.mean, n_resamples=20_000, method="percentile", rng=3
    ).confidence_interval
    np.testing.assert_allclose(found, (oracle.low, oracle.high), atol=0.02)


def test_the_numbers_of_one_seed_stay_together() -> None:
    values = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    drawn = resampled(values, 100, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[:, 1], 10 * drawn[:, 0])
    assert set(drawn[:, 0].ravel()) == {1.0, 2.0, 3.0}


def test_an_interval_is_of_the_finite() -> None:
    samples = np.array([1.0, 2.0, 3.0, np.nan, np.inf])
    assert interval(samples) == pytest.approx(tuple(np.percentile([1.0, 2.0, 3.0], [2.5, 97.5])))
    assert all(map(math.isnan, interval(np.array([np.nan]))))
