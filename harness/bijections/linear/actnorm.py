"""Activation normalisation."""

import math

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.given import check_some
from harness.bijections.linear.over_channels import check_channels, check_dtype, check_input
from harness.bijections.linear.scaling import along_channels


class ActNorm(Bijection):
    """``y = (x + bias) · exp(log_scale)`` per channel (arXiv 1807.03039).

    :meth:`initialize` sets mean 0 and variance 1 per channel on its batch; a channel that does
    not vary there keeps a scale of at most ``1 / smallest``.

    Args:
        channels: Size of dimension 1.
        smallest: Floor of the standard deviation at initialisation.

    Raises:
        ValueError: ``channels`` is below 1 or ``smallest`` not positive; in a call, the input has
            another dimension 1 or another dtype.
    """

    is_affine = True

    def __init__(self, channels: int, smallest: float = 0.1) -> None:
        super().__init__()
        check_channels(self, channels)
        if not smallest > 0:
            raise ValueError(f"ActNorm: smallest must be positive, not {smallest}")
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.smallest = smallest

    def _parameters_for(self, x: Tensor) -> tuple[Tensor, Tensor]:
        bias, log_scale = self.bias, self.log_scale  # a module is slow to give them
        check_input(self, x, bias.shape[0])
        check_dtype(self, x, bias)
        return bias, log_scale

    def _log_det(self, x: Tensor, log_scale: Tensor) -> Tensor:
        total, pixels = log_scale.sum(), math.prod(x.shape[2:])
        return (total if pixels == 1 else total * pixels).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        bias, log_scale = self._parameters_for(x)
        shift, scale = (along_channels(p, x) for p in (bias, log_scale.exp()))
        return (x + shift) * scale, self._log_det(x, log_scale)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        bias, log_scale = self._parameters_for(y)
        opposite = -log_scale
        shift, scale = (along_channels(p, y) for p in (bias, opposite.exp()))
        return y * scale - shift, self._log_det(y, opposite)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``max exp(log_scale)`` and ``1 / min exp(log_scale)``: a diagonal map, tight."""
        log_scale = self.log_scale.detach().double()
        if not log_scale.isfinite().all():  # diverged: nothing is bounded
            return BiLipschitz(math.inf, math.inf)
        largest, smallest = log_scale.max(), log_scale.min()
        return BiLipschitz(float(largest.exp()), float((-smallest).exp())).rounded_up()

    def image(self, box: Box) -> Box:
        bias, log_scale = (p.detach().double() for p in (self.bias, self.log_scale))

        def scaled(x: Tensor) -> Tensor:
            shift, log = (along_channels(p, x) for p in (bias, log_scale))
            return (x + shift) * log.exp()

        return box.each(scaled)

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.log_scale.exp().expand(len(x), -1)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self._parameters_for(x)
        check_some("ActNorm", x)
        channels = x.transpose(0, 1).flatten(1)
        self.bias.copy_(-channels.mean(1))
        self.log_scale.copy_(-channels.std(1, correction=0).clamp_min(self.smallest).log())
        return self(x, context)[0]  # type: ignore[no-any-return]
