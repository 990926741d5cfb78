"""A mixture of logistics in logits where its parameters are known to lie in intervals.

Notation of :class:`Mixture`: ``z_k = (x - μ_k) / s_k``,
``F = Σ π_k σ(z_k)``, ``T = logit F``, ``f_k = π_k σ(z_k) σ(-z_k) / s_k``, so that
``T' = Σ f_k / (F (1-F))``.
No bound needs the weights π.
"""

import math

import torch

from harness.bijections.box import Box
from harness.bijections.transformers.elementwise_bounds import Derivatives, norms


class MixtureOnBox:
    """``y = T(x) exp(a) + b`` for all x, a, b, μ and log s in boxes.

    With w the spread of the z_k, ``max z_k - min z_k``:

    - ``T' ≤ max 1/s_k``, for ``E[σ (1-σ)] ≤ E[σ] (1 - E[σ])``: σ (1-σ) is concave in σ.
    - ``T' ≥ min 1/s_k / cosh²(w/4)``. ``F (1-F) / E[σ (1-σ)] = 1 + Var σ / E[σ (1-σ)]``. A concave
      function lies above its chord, so that what is added is largest where σ has two values
      α < β. There, with A and B their σ (1-σ), it is
      ``λ (1-λ) (β-α)² / ((1-λ) A + λ B) ≤ ((β-α) / (√A + √B))²``, and with ``α = σ(t)`` and
      ``β = σ(u)`` the root of that is ``sinh((u-t)/4) / cosh((u+t)/4) ≤ sinh(w/4)``.
    - ``∂T/∂ logit π_k = π_k σ(z_k) / F - π_k σ(-z_k) / (1-F)``: a difference of two distributions
      r and q over k, whose quotient is ``e^(z_k - T)``. Of a set of components let
      ``u = r/q`` and ``v = (1-r) / (1-q)``; means of such quotients, so ``u/v ≤ e^w`` where u is
      the greater. Then ``r - q = (u-1) (1-v) / (u-v)``, largest at ``u = 1/v``: tanh(w/4). So that
      bounds each entry, and with √2 before it the norm over k.
    - ``∂T/∂μ_k = -f_k / (F (1-F))``. As ``F (1-F) ≥ E[σ (1-σ)] ≥ π_k σ (1-σ)(z_k)``, it is within
      ``1/s_k``, and they sum to T'.
    - ``∂T/∂ log s_k = (x - μ_k) ∂T/∂μ_k``, within ``|z_k|``.
    - T lies between the least and the greatest z_k.

    Each z_k is affine in x, so ``|z_k|`` and, for fixed parameters, w are largest at an end of x's
    interval.

    Args:
        x: Shape ``(C, …)``.
        affine: a and b, shape ``(2, C, …)``.
        means: μ, shape ``(K, C, …)``.
        log_scales: log s, likewise.
    """

    def __init__(self, x: Box, affine: Box, means: Box, log_scales: Box) -> None:
        self._steep = Box((-log_scales.upper).exp(), (-log_scales.lower).exp())
        self._away = [Box(end - means.upper, end - means.lower) for end in x]
        self._z = [away.times(self._steep) for away in self._away]
        self._gain = Box(affine.lower[0].exp(), affine.upper[0].exp())
        self._shift = Box(affine.lower[1], affine.upper[1])

    def image(self) -> Box:
        """A box around y."""
        first, last = self._z
        value = Box(first.lower.amin(0), last.upper.amax(0))
        return value.times(self._gain).plus(self._shift)

    def derivatives(self) -> Derivatives:
        """See above."""
        spreads = [z.upper.amax(0) - z.lower.amin(0) for z in self._z]
        spread = torch.maximum(*spreads)
        narrow, wide = self._steep.lower.amin(0), self._steep.upper.amax(0)
        slope = Box(narrow / torch.cosh(spread / 4) ** 2, wide)
        gain, one = self._gain.upper, torch.ones_like(wide)
        z = torch.maximum(*(one.largest for one in self._z))
        away = torch.maximum(*(one.largest for one in self._away))
        unlike = torch.tanh(spread / 4)
        value = z.amax(0)
        gradient = [
            (gain * value).unsqueeze(0),
            one.unsqueeze(0),
            (gain * unlike).expand_as(z),
            gain * self._steep.upper,
            gain * z,
        ]
        relative = [
            (value / slope.lower).unsqueeze(0),
            (1 / (slope.lower * self._gain.lower)).unsqueeze(0),
            (unlike / slope.lower).expand_as(z),
            torch.ones_like(z),
            away,
        ]
        sizes = tuple(map(len, gradient))
        farthest = away.amax(0)
        # Where a distribution over the components bounds more than the components one by one.
        limits = [
            torch.stack([one * math.inf, one * math.inf, math.sqrt(2) * weights, means, scales])
            for weights, means, scales in (
                (gain * unlike, gain * wide, gain * wide * farthest),
                (unlike / slope.lower, one, farthest),
            )
        ]
        by_y, by_x = torch.cat(gradient), torch.cat(relative)
        forward, backward = (
            torch.minimum(norms(some, sizes), limit)
            for some, limit in zip((by_y, by_x), limits, strict=True)
        )
        return Derivatives(slope.times(self._gain), by_y, by_x, sizes, forward, backward)


def bracket(t: Box, means: Box, log_scales: Box) -> Box:
    """A box around the x with ``T(x) = t``: between the least and the greatest ``μ_k + s_k t``."""
    scales = log_scales.increasing(torch.exp)
    ends = scales.times(Box(*(end.unsqueeze(0) for end in t))).plus(means)
    return Box(ends.lower.amin(0), ends.upper.amax(0))
