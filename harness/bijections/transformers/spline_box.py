"""A rational-quadratic spline where its knots are known to lie in intervals.

Notation of :mod:`spline_bounds`. The shapes have no batch: K bins, or K + 1
knots, in dimension 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.box import Box
from harness.bijections.transformers.elementwise_bounds import Derivatives, norms


class Axis(NamedTuple):
    """Knots along one axis, at ``bound (2 S_k - 1)`` with S_k a sum of parts.

    Attributes:
        knots: Shape ``(K + 1, …)``.
        sizes: Of the bins, ``(K, …)``.
        rates: ``|∂knot_k / ∂raw_j|`` at most, ``(K + 1, K, …)``.
    """

    knots: Box
    sizes: Box
    rates: Tensor


class Slopes(NamedTuple):
    """At the knots.

    Attributes:
        values: Shape ``(K + 1, …)``; 1 at both ends.
        rates: ``|dδ/dh|`` at most at the inner ones, ``(K - 1, …)``.
    """

    values: Box
    rates: Tensor


def axis(raw: Box, bound: float, minimum: float) -> Axis:
    """Of softmaxes of raw numbers in intervals ``(K, …)``.

    A sum ``P = Σ_{j<k} π_j`` of a softmax is ``σ(log Σ_{j<k} e^(raw_j) - log Σ_{j≥k} e^(raw_j))``,
    which rises with each of the first and falls with each of the others: its range is exact. And
    ``∂P/∂raw_j`` is ``π_j (1 - P)`` for the first and ``-π_j P`` for the others.
    """
    count, none = len(raw.lower), torch.zeros_like(raw.lower[:1])
    number = torch.arange(count, device=none.device)
    sums = [_share(raw, number < k) for k in range(1, count)]
    parts = [_share(raw, number == k) for k in range(count)]
    total = Box(
        *(torch.cat([none, torch.stack(ends), none + 1]) for ends in zip(*sums, strict=True))
    )
    share = Box(*(torch.stack(ends) for ends in zip(*parts, strict=True)))
    length, free = 2 * bound, 1 - count * minimum
    knot = torch.arange(count + 1, device=none.device)
    each = [1] * (none.ndim - 1)
    least = minimum * knot.reshape(-1, *each)
    before = (number < knot.unsqueeze(1)).reshape(count + 1, count, *each)
    rest = torch.where(before, (1 - total.lower).unsqueeze(1), total.upper.unsqueeze(1))
    return Axis(
        total.increasing(lambda sum_: length * (least + free * sum_) - bound),
        share.increasing(lambda part: length * (minimum + free * part)),
        length * free * share.upper * rest,
    )


def _share(raw: Box, chosen: Tensor) -> Box:
    """How much of a softmax some of its entries have."""
    lower, upper = (
        (chosen_end[chosen].logsumexp(0) - other_end[~chosen].logsumexp(0)).sigmoid()
        for chosen_end, other_end in (raw, (raw.upper, raw.lower))
    )
    return Box(lower, upper)


class _Bins(NamedTuple):
    """What the slope of the spline and its parameters' effect are within each bin."""

    reached: Tensor
    slope: Box
    effect: Tensor
    relative_effect: Tensor


def derivatives(x: Box, widths: Axis, heights: Axis, slopes: Slopes, bound: float) -> Derivatives:
    """Of the spline, over the bins that x may be in; outside of all of them it is the identity.

    A value in a bin moves with the parameters as in
    :meth:`parameter_gradients`: with the heights as a
    mean of the bin's two knots does, with the widths ``f'`` times as much, and with a slope δ by
    ``W m/d ≤ W / (2 + c)`` at most; at fixed y, that is divided by f', and by a slope's effect
    ``W/s`` at most.
    """
    bins = _bins(x, widths, heights, slopes)
    tail = (x.lower <= -bound) | (x.upper >= bound)
    slope = Box(
        torch.minimum(_over(bins.reached, bins.slope.lower, torch.inf), _where(tail, torch.inf)),
        torch.maximum(_over(bins.reached, bins.slope.upper, -torch.inf), _where(tail, -torch.inf)),
    )
    lost = ~(bins.reached.any(0) | tail)  # a number that is none is nowhere
    slope = slope.increasing(lambda end: torch.where(lost, torch.nan, end))
    by_height, by_width = (
        torch.maximum(one.rates[:-1], one.rates[1:]) for one in (heights, widths)
    )
    reached, flat, steep = (
        one.unsqueeze(1) for one in (bins.reached, bins.slope.lower, bins.slope.upper)
    )
    gradient = [_over(reached, by_width * steep, 0.0), _over(reached, by_height, 0.0)]
    relative = [_over(reached, by_width, 0.0), _over(reached, by_height / flat, 0.0)]
    for found, effect in ((gradient, bins.effect), (relative, bins.relative_effect)):
        some = torch.where(bins.reached, effect, 0.0)  # of each bin, by the slopes at its ends
        found.append(slopes.rates * torch.maximum(some[:-1], some[1:]))
    count = len(widths.sizes.lower)
    sizes = (count, count, count - 1)
    by_y, by_x = torch.cat(gradient), torch.cat(relative)
    return Derivatives(slope, by_y, by_x, sizes, norms(by_y, sizes), norms(by_x, sizes))


def _bins(x: Box, widths: Axis, heights: Axis, slopes: Slopes) -> _Bins:
    secant = Box(heights.sizes.lower / widths.sizes.upper, heights.sizes.upper / widths.sizes.lower)
    left, right = (Box(*(end[at] for end in slopes.values)) for at in (slice(-1), slice(1, None)))
    both = left.plus(right)
    sum_ = Box(both.lower / secant.upper, both.upper / secant.lower)
    slope = Box(flattest(left, right, secant, sum_), steepest(left, right, secant, sum_))
    effect = widths.sizes.upper / (2 + sum_.lower)
    relative = torch.minimum(widths.sizes.upper / secant.lower, effect / slope.lower)
    return _Bins(_reached(x, widths.knots), slope, effect, relative)


def steepest(left: Box, right: Box, secant: Box, sum_: Box) -> Tensor:
    """``f'`` at most, over a bin: the lesser of two bounds.

    ``max(δ₀, δ₁, 2s)`` of :func:`harness.bijections.transformers.spline_bounds.steepest`, and, as
    ``f' = s n / d²`` with n a mean of a, b and 1, and ``d = 1 + (c - 2) m`` with ``m ≤ 1/4``,
    ``max(δ₀, δ₁, s) · 16 / (2 + min(c, 2))²``: where the slopes are about the secant, it is tight.
    """
    knots = torch.maximum(left.upper, right.upper)
    near = 16 / (2 + sum_.lower.clamp_max(2)) ** 2
    return torch.minimum(
        torch.maximum(knots, 2 * secant.upper), torch.maximum(knots, secant.upper) * near
    )


def flattest(left: Box, right: Box, secant: Box, sum_: Box) -> Tensor:
    """``f'`` at least, over a bin: the greater of two bounds.

    ``min(δ₀, δ₁, s² / (δ₀ + δ₁))`` of :func:`flattest`, and
    ``min(δ₀, δ₁, s) · min(1, 16 / (2 + c)²)``, as above: ``d ≤ max(1, (2 + c) / 4)``.
    """
    knots = torch.minimum(left.lower, right.lower)
    near = (16 / (2 + sum_.upper) ** 2).clamp_max(1)
    return torch.maximum(
        torch.minimum(knots, secant.lower**2 / (left.upper + right.upper)),
        torch.minimum(knots, secant.lower) * near,
    )


def moved(x: Box, along: Axis, onto: Axis, bound: float) -> Box:
    """A box around what the knots of one axis say of values along another: bin to bin.

    From x to y, or from y to x; beyond the bound nothing is moved.
    """
    reached = _reached(x, along.knots)
    below, above = x.lower <= -bound, x.upper >= bound
    lower = torch.minimum(
        _over(reached, onto.knots.lower[:-1], torch.inf), torch.where(below, x.lower, torch.inf)
    )
    upper = torch.maximum(
        _over(reached, onto.knots.upper[1:], -torch.inf), torch.where(above, x.upper, -torch.inf)
    )
    # Where x lies beyond on one side only, no bin is reached, and its other end is there too.
    return Box(
        torch.where(x.lower >= bound, x.lower, lower),
        torch.where(x.upper <= -bound, x.upper, upper),
    )


def _reached(x: Box, knots: Box) -> Tensor:
    """Which bins x may be in, by intervals of their knots; all of which nothing is known."""
    return ~((knots.lower[:-1] > x.upper) | (knots.upper[1:] < x.lower))


def _over(reached: Tensor, values: Tensor, nothing: float) -> Tensor:
    """The most extreme over the bins that are reached, in the direction away from ``nothing``."""
    of_bins: Callable[[Tensor], Tensor] = (
        (lambda one: one.amin(0)) if nothing == torch.inf else (lambda one: one.amax(0))
    )
    return of_bins(torch.where(reached, values, nothing))


def _where(tail: Tensor, nothing: float) -> Tensor:
    """The slope of the tails where they are reached."""
    return torch.where(tail, 1.0, nothing).to(torch.float64)
