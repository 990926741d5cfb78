"""Integer levels with noise that is known."""

import math

from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.given import check_least


class Dequantization(Bijection):
    """``y = (x + u) / K`` of levels x in 0 … K - 1, with the noise u as the context.

    For any u it is a bijection of real vectors or images, ``x = K y - u``, with
    ``log |det J| = -D log K``; where x are integers and u in [0, 1), y fills [0, 1), and
    :meth:`levels` gives x back without u. So noise is drawn by who calls, as any other random
    number, and the likelihood of y, with this log-det, is on average no more than that of the
    levels (Uria, Murray & Larochelle 2013, arXiv 1306.0186; Theis et al. 2016, arXiv 1511.01844).
    Datasets with integer levels dequantize by themselves
    (:meth:`harness.datasets.base.Dataset.dequantize`); this is for networks that are to be
    invertible down to the levels.

    Args:
        count: K, how many levels there are.

    Raises:
        ValueError: ``count`` is below 1; in a call, the context has not the input's shape, dtype
            and device.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        check_least("Dequantization", 1, count=count)
        self.count = count

    def _noise(self, like: Tensor, context: Tensor | None) -> Tensor:
        wanted = f"Dequantization: 'context' must be the noise, of shape {tuple(like.shape)}"
        if context is None:
            raise ValueError(f"{wanted}, and none was given")
        if context.shape != like.shape:
            raise ValueError(f"{wanted}, not of shape {tuple(context.shape)}")
        if (context.dtype, context.device) != (like.dtype, like.device):
            ours, theirs = (f"{t.dtype} on {t.device}" for t in (like, context))
            raise ValueError(f"Dequantization: 'context' is {theirs}, and the input {ours}")
        return context

    def _log_det(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), -math.prod(x.shape[1:]) * math.log(self.count))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x + self._noise(x, context)) / self.count, self._log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y * self.count - self._noise(y, context), -self._log_det(y)

    def levels(self, y: Tensor) -> Tensor:
        """The level that each entry of y stands for, in 0 … K - 1, whatever the noise was.

        Exact for noise on a grid of 2⁻¹⁶ and up to 256 levels, in float32 too. Noise just below 1
        is rounded into the next level otherwise.
        """
        # y is a quotient, rounded: times K it may be below x + u by half of the grid's step.
        found = (y.double() * self.count + 2**-17).floor().clamp(0, self.count - 1)
        return found.to(y.dtype)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``1 / K`` and K, everywhere and for every noise: a scaling, tight."""
        return BiLipschitz(1 / self.count, float(self.count))

    def image(self, box: Box) -> Box:
        """For noise in [0, 1]."""
        return Box(box.lower / self.count, (box.upper + 1) / self.count)
