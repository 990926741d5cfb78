"""Batch normalisation by running statistics only."""

import math

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.given import check_some
from harness.bijections.linear.over_channels import check_channels, check_dtype, check_input
from harness.bijections.linear.scaling import along_channels, diagonal_bounds


class BatchNorm(Bijection):
    """``y = (x - mean) / √(var + ε) · exp(log_scale) + bias`` per channel (arXiv 1605.08803).

    ``log |det J| = H · W · Σ (log_scale - log(var + ε) / 2)``. Mean and variance are running
    statistics in both directions, in training too. With those of the batch, as is usual in
    training, a sample's image would depend on its batch mates: the map of one sample would have no
    inverse and no log-det of its own (the Jacobian is that of the whole batch), the inverse would
    need the batch that it never sees, and a call would change what the next one computes. So the
    statistics move by the explicit step :meth:`update` alone, which training takes after each of
    its own; gradients do not flow through them. :meth:`initialize` sets them to those of its batch.

    Args:
        channels: Size of dimension 1.
        epsilon: ε, added to the variance.
        momentum: How far an update moves the statistics towards those of its batch, in (0, 1].

    Raises:
        ValueError: ``channels`` is below 1, ``epsilon`` not positive or ``momentum`` not within
            (0, 1]; in a call, the input has another dimension 1 or another dtype.
    """

    is_affine = True
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, epsilon: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        check_channels(self, channels)
        if not 0 < epsilon < math.inf:
            raise ValueError(f"BatchNorm: epsilon must be positive, not {epsilon}")
        if not 0 < momentum <= 1:
            raise ValueError(f"BatchNorm: momentum must be within (0, 1], not {momentum}")
        self.epsilon, self.momentum = epsilon, momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def _log_gain(self) -> Tensor:
        return self.log_scale - (self.variance + self.epsilon).log() / 2

    def _log_det(self, x: Tensor, log_gain: Tensor) -> Tensor:
        return (log_gain.sum() * math.prod(x.shape[2:])).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(x)
        log_gain = self._log_gain()
        mean, gain, bias = (along_channels(p, x) for p in (self.mean, log_gain.exp(), self.bias))
        return (x - mean) * gain + bias, self._log_det(x, log_gain)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(y)
        log_gain = self._log_gain()
        mean, loss, bias = (along_channels(p, y) for p in (self.mean, (-log_gain).exp(), self.bias))
        return (y - bias) * loss + mean, -self._log_det(y, log_gain)

    def _check(self, x: Tensor) -> None:
        check_input(self, x, len(self.bias))
        check_dtype(self, x, self.bias)

    def _exact_gain(self) -> Tensor:
        variance = self.variance.double() + self.epsilon
        return self.log_scale.detach().double().exp() / variance.sqrt()

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``max γ`` and ``1 / min γ``, ``γ = exp(log_scale) / √(var + ε)``: tight, on any box."""
        return diagonal_bounds(self._exact_gain())

    def image(self, box: Box) -> Box:
        gain, mean, bias = self._exact_gain(), self.mean.double(), self.bias.detach().double()

        def moved(x: Tensor) -> Tensor:
            return (x - along_channels(mean, x)) * along_channels(gain, x) + along_channels(bias, x)

        return box.each(moved)

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self._log_gain().exp().expand(len(x), -1)

    @torch.no_grad()
    def update(self, x: Tensor, momentum: float | None = None) -> None:
        """Move the running statistics towards those of a batch: ``s ← (1 - m) s + m s_batch``.

        Args:
            x: What this block is given, ``(B, C, …)``; its variance is the biased one.
            momentum: m, if not the block's own.
        """
        self._check(x)
        check_some("BatchNorm", x)
        m = self.momentum if momentum is None else momentum
        channels = x.transpose(0, 1).flatten(1)
        self.mean.lerp_(channels.mean(1), m)
        self.variance.lerp_(channels.var(1, correction=0), m)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.update(x, momentum=1.0)
        return self(x, context)[0]  # type: ignore[no-any-return]
