"""The logit of inputs in [0, 1]."""

import math

from torch import Tensor
from torch.nn import functional as F

from harness.bijections.base import Bijection, BiLipschitz, sum_per_sample
from harness.bijections.box import Box


class Logit(Bijection):
    """``y = log(p / (1 - p))`` with ``p = α + (1 - 2α) x``, entry by entry (arXiv 1605.08803).

    A bijection of ``(-α / (1 - 2α), 1 + α / (1 - 2α))``, of which [0, 1] is a part, onto the real
    line; elsewhere its value is NaN. ``dy/dx = (1 - 2α) / (p (1 - p))``.

    Datasets of integer levels are dequantized before it, by themselves
    (:meth:`harness.datasets.base.Dataset.dequantize`) or by
    :class:`~harness.bijections.shape.dequantization.Dequantization`.

    Args:
        alpha: α, within (0, 1/2).

    Raises:
        ValueError: ``alpha`` is not within (0, 1/2).
    """

    def __init__(self, alpha: float = 0.05) -> None:
        super().__init__()
        if not 0 < alpha < 0.5:
            raise ValueError(f"Logit: alpha must be within (0, 1/2), not {alpha}")
        self.alpha = alpha

    def _probabilities(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # 1 - p from 1 - x, for near 1 the difference of two rounded numbers would lose it.
        slope = 1 - 2 * self.alpha
        return self.alpha + slope * x, self.alpha + slope * (1 - x)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_p, log_q = (p.log() for p in self._probabilities(x))
        return log_p - log_q, sum_per_sample(math.log1p(-2 * self.alpha) - log_p - log_q)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = (y.sigmoid() - self.alpha) / (1 - 2 * self.alpha)
        log_slope = F.logsigmoid(y) + F.logsigmoid(-y) - math.log1p(-2 * self.alpha)
        return x, sum_per_sample(log_slope)

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        p, q = self._probabilities(x)
        return ((1 - 2 * self.alpha) / (p * q)).flatten(1)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """The Jacobian is diagonal and dy/dx convex with its least value ``4 (1 - 2α)`` at 1/2.

        On a box the largest is at an end, and the least at the point nearest to 1/2; on [0, 1]
        that is ``(1 - 2α) / (α (1 - α))`` and ``1 / (4 (1 - 2α))``. Everywhere the forward
        constant is inf, for dy/dx grows without end, and the inverse one the same.
        """
        if box is None:
            return BiLipschitz(math.inf, 1 / (4 * (1 - 2 * self.alpha)))
        steepest = max(self._largest_slope(end) for end in box)
        p, q = self._probabilities(box.lower.clamp_min(0.5).minimum(box.upper))
        flattest = float((p * q).clamp_min(0).max()) / (1 - 2 * self.alpha)
        if not math.isfinite(flattest):  # a box with ends that are not numbers
            return BiLipschitz(math.inf, math.inf)
        return BiLipschitz(steepest, flattest)

    def _largest_slope(self, x: Tensor) -> float:
        p, q = self._probabilities(x)
        product = float((p * q).min())
        return (1 - 2 * self.alpha) / product if product > 0 else math.inf

    def image(self, box: Box) -> Box:
        def value(x: Tensor) -> Tensor:
            p, q = self._probabilities(x)
            return p.clamp_min(0).log() - q.clamp_min(0).log()

        return box.increasing(value)
