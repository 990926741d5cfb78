"""The leaderboard's statistics: pure functions of numpy arrays.

NaN and +inf are the worst that can be: a rank takes them as such, an average leaves them out, and
whoever averages says how many were left out. Arrays have their draws first and what is averaged
or ranked last.
"""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile
_TRIM = 0.25

COVERAGE = {
    1: {2: 49, 3: 76, 4: 80, 5: 84, 6: 87, 7: 87, 8: 88},
    2: {2: 66, 3: 81, 4: 85, 5: 88, 6: 89, 7: 90, 8: 91},
}
"""Of the bootstrap's 95 % intervals of a mean, how many % hold it: by datasets, then by seeds.

Simulated, with Gaussian numbers of one spread; tests/leaderboard/test_coverage.py does it again.
"""


def finite_mean(values: Floats) -> Floats:
    """Mean over the last axis of what is finite there; NaN where nothing is.

    Shape ``(..., n)`` to ``(...)``.
    """
    finite = np.isfinite(values)
    count = finite.sum(axis=-1)
    total = np.where(finite, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def interquartile_mean(values: Floats) -> Floats:
    """IQM(x) = mean of the sorted finite x[k : n-k], k = ⌊n/4⌋; NaN where none is finite.

    Shape ``(..., n)`` to ``(...)``. Of fewer than four values it is their mean. Of log10 errors
    it is the log10 of the geometric interquartile mean. (Agarwal et al., NeurIPS 2021)
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=-1)  # NaN goes last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    cut = np.floor(_TRIM * count)
    place = np.arange(values.shape[-1])
    return finite_mean(np.where((place >= cut) & (place < count - cut), ordered, np.nan))


def resampled(values: Floats, draws: int, generator: np.random.Generator) -> Floats:
    """Draws with replacement of the last axis, together for all rows.

    Shape ``(m, n)`` to ``(draws, m, n)``: the m numbers of one seed stay together.
    """
    n = values.shape[-1]
    chosen = generator.integers(n, size=(draws, n)) if n else np.zeros((draws, 0), np.int64)
    return np.moveaxis(values[:, chosen], 1, 0)


def interval(samples: Floats) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval, of the finite samples; NaN where there are none."""
    finite = samples[np.isfinite(samples)]
    if not finite.size:
        return math.nan, math.nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def ranks(*keys: Floats) -> Floats:
    """Rank 1 is the least; by the first key, ties by the second, …; full ties share the mean rank.

    rank(e) = 1 + |{f : f < e}| + |{f ≠ e : f = e}| / 2 over the last axis, with NaN = +inf: the
    worst. Shapes ``(..., n)``, all the same, to ``(..., n)``.
    """
    # Averages of the same numbers in another order differ in the last digits: no difference.
    clean = [np.round(np.where(np.isnan(key), np.inf, key), 12) for key in keys]
    shape = (*clean[0].shape, clean[0].shape[-1])
    less = np.zeros(shape, dtype=bool)
    same = np.ones(shape, dtype=bool)
    for key in clean:
        other, own = key[..., None, :], key[..., :, None]
        less |= same & (other < own)
        same &= other == own
    ranked: Floats = 0.5 + less.sum(axis=-1) + same.sum(axis=-1) / 2  # same counts itself
    return ranked


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: (p̂ + z²/2n ± z√(p̂(1-p̂)/n + z²/4n²)) / (1 + z²/n).

    NaN without trials. (Wilson, JASA 1927)
    """
    if trials == 0:
        return math.nan, math.nan
    share, square = successes / trials, _Z95**2 / trials
    middle = share + square / 2
    spread = math.sqrt(share * (1 - share) * square + square**2 / 4)
    low, high = (middle - spread) / (1 + square), (middle + spread) / (1 + square)
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def smallest_p(datasets: int) -> float:
    """The least p that an exact two-sided Wilcoxon test of paired datasets can give: 2^(1-N)."""
    return min(1.0, math.ldexp(1.0, 1 - datasets))
