"""Affine transformer that preserves volume."""

import math
from typing import Annotated, Any

from torch import Tensor

from harness import registry
from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.coupling.coupling_bounds import Gain
from harness.bijections.transformers.elementwise import Affine, Order, Transformer
from harness.registry import Nested, entry


class VolumePreserving(Affine):
    """An affine transformer whose log-scales sum to zero over the changed channels: GIN.

    ``y_i = x_i e_i + h₂`` with ``log e_i = log g(h₁ᵢ) - mean_j log g(h₁ⱼ)``; of images, at each
    pixel. So ``|det J| = 1`` up to rounding, as of an additive coupling, yet not every ``e_i`` is
    1. One changed channel alone can only be shifted. Sorrenson et al. 2020, arXiv 2001.04872.
    """

    def gain(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        log = _centred(self.scale.log(raw))
        return log.exp(), log

    def inverse_gain(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        log = -_centred(self.scale.log(raw))
        return log.exp(), log

    def gradient_of_raw(self, raw: Tensor, by_log: Tensor) -> Tensor:
        return _centred(by_log) * self.scale.log_slope(raw)

    def gain_on(self, raw: Box) -> Gain:
        """With P the projection onto sum zero, ``∂log e/∂h = P diag(l')`` and ``‖P‖ ≤ 1``.

        So ``‖diag(w) ∂log e/∂h‖ ≤ max |w| · max l'`` at each pixel, and likewise with
        ``w e`` for w. ``log e_i`` is largest where its own log is and all others are least.
        """
        log = self.scale.log_range_on(raw)
        channels = len(log.lower)
        share = 1 - 1 / channels
        rest = [(end.sum(0, keepdim=True) - end) / channels for end in log]
        centred = Box(share * log.lower - rest[1], share * log.upper - rest[0])
        values = centred.increasing(lambda value: value.exp())
        steepest = self.scale.largest_log_slope(raw).amax(0, keepdim=True).expand_as(log.lower)
        return Gain(values, values.upper * steepest, steepest)

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """None but of a constant conditioner, as of every affine coupling; then ``sup g / inf g``.

        ``log e`` is a difference of two values of ``log g``.
        """
        lower, upper = self.scale.lower, self.scale.upper
        constant = conditioner_lipschitz == 0 and lower > 0
        return BiLipschitz(*[upper / lower if constant else math.inf] * 2)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)


@entry(version=1)
def volume_preserving(
    *,
    scale: Annotated[dict[str, Any], Nested("scale_map")] = "bounded_exp",  # type: ignore[assignment]
    order: Order = "scale_first",
) -> Transformer:
    """Affine with log-scales that sum to zero (GIN): log-det 0, and bounds on a box only."""
    return VolumePreserving(registry.build("scale_map", scale), order)
