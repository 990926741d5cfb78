"""Linear maps over dimension 1: what all of them share, whatever W is made of."""

import copy
import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.given import check_alike
from harness.bijections.spectral import singular_range


class LinearOverChannels(Bijection):
    """``y = W x`` over dimension 1: a linear layer on vectors, the 1×1 convolution on images.

    ``log |det J| = H · W · log |det W|`` on images of height H and width W. An implementation
    gives :meth:`weight`, :meth:`log_det_of_weight` and :meth:`solve`.

    Args:
        channels: Size of dimension 1.

    Raises:
        ValueError: ``channels`` is below 1; in a call, the input has another dimension 1 or
            another dtype.
    """

    is_affine = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_channels(self, channels)
        self.channels = channels

    def weight(self) -> Tensor:
        """W, shape ``(C, C)``."""
        raise NotImplementedError

    def log_det_of_weight(self) -> Tensor:
        """``log |det W|``, a scalar."""
        raise NotImplementedError

    def solve(self, columns: Tensor) -> Tensor:
        """``W⁻¹ columns``, shape ``(C, N)``."""
        raise NotImplementedError

    def _log_det(self, x: Tensor) -> Tensor:
        total, pixels = self.log_det_of_weight(), math.prod(x.shape[2:])
        return (total if pixels == 1 else total * pixels).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x, self.channels)
        weight = self.weight()
        check_dtype(self, x, weight)
        y = (weight @ x.flatten(2)) if x.ndim > 2 else x @ weight.T
        return y.reshape(x.shape), self._log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, y, self.channels)
        log_det = -self._log_det(y)
        check_dtype(self, y, log_det)
        # One system with a column for each pixel: a batch of systems would factorise W for each.
        columns = self.solve(y.transpose(0, 1).flatten(1))
        x = columns.reshape(y.shape[1], y.shape[0], *y.shape[2:]).transpose(0, 1)
        return x, log_det

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``‖W‖₂ = σ_max`` and ``‖W⁻¹‖₂ = 1 / σ_min`` by SVD in float64: tight, on any box."""
        return self.as_used(reciprocal_range(*singular_range(self._exact_weight())))

    @torch.no_grad()
    def as_used(self, exact: BiLipschitz) -> BiLipschitz:
        """What holds of W as its parameters define it, and of W as it is rounded in a call.

        In float32 these are two matrices. The forward map takes the rounded one, and an inverse by
        the factors the other: each constant is the greater of both.
        """
        weight = self.weight()
        if weight.dtype == torch.float64:
            return exact
        rounded = reciprocal_range(*singular_range(weight))
        return BiLipschitz(*map(max, exact, rounded))

    @torch.no_grad()
    def _exact_weight(self) -> Tensor:
        """W computed in float64 from the parameters as they are."""
        return copy.deepcopy(self).double().weight()

    def image(self, box: Box) -> Box:
        # Of an image, each pixel is a vector of channels.
        columns = box.each(lambda x: x.flatten(2)) if box.lower.ndim > 1 else box
        return columns.linear(self.weight()).each(lambda y: y.reshape(1, *box.lower.shape))

    @torch.no_grad()
    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The singular values of W, the greatest first; NaN of a network that diverged."""
        weight = self.weight()
        if not weight.isfinite().all():  # LAPACK fails on it
            return weight.new_full((len(x), self.channels), torch.nan)
        values: Tensor = torch.linalg.svdvals(weight)
        return values.expand(len(x), -1)

    def is_finite(self) -> bool:
        """Whether every parameter is; of a network that diverged nothing is bounded."""
        return all(bool(parameter.isfinite().all()) for parameter in self.parameters())


def reciprocal_range(largest: float, smallest: float) -> BiLipschitz:
    """``(σ_max, 1 / σ_min)``, and inf of a singular map."""
    return BiLipschitz(largest, 1 / smallest if smallest > 0 else math.inf)


def check_channels(block: Bijection, channels: int) -> None:
    """Refuse a block over no channels."""
    if channels < 1:
        name = type(block).__name__
        raise ValueError(f"{name}: channels must be at least 1, not {channels}")


def check_input(block: Bijection, x: Tensor, channels: int) -> None:
    """Refuse an input that is not ``(B, channels, …)``: some would be broadcast in silence."""
    if x.ndim < 2 or x.shape[1] != channels:
        name, shape = type(block).__name__, tuple(x.shape)
        raise ValueError(f"{name}: the input must be (batch, {channels}, …), not of shape {shape}")


def check_dtype(block: Bijection, x: Tensor, parameter: Tensor) -> None:
    """Refuse an input of another precision or on another device than the weights."""
    check_alike(type(block).__name__, x, parameter)


def random_rotation(channels: int, generator: torch.Generator) -> Tensor:
    """An orthogonal matrix, from the QR decomposition of a Gaussian one."""
    gaussian = torch.randn(channels, channels, generator=generator)
    rotation: Tensor = torch.linalg.qr(gaussian).Q
    return rotation
