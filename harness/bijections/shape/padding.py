"""Padding with zeros: injective, not bijective."""

from torch import Tensor
from torch.nn import functional as F

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.over_channels import check_channels, check_input


class ZeroPadding(Bijection):
    """``y = (x, 0)``: more channels, ``(B, C, …) → (B, C + K, …)`` (arXiv 1802.07088).

    Injective, not bijective: its image is a subspace. It keeps the contract where an injective map
    can. ``inverse`` drops the padding, whatever is in it, so ``inverse(forward(x)) = x``, while
    ``forward(inverse(y))`` is the projection of y onto the image. The log-det is ``½ log det JᵀJ``,
    which is 0. The bounds are those of F and of that left inverse, and in a chain they multiply as
    any others.

    The latent has more dimensions than the input, and a density there is none of x: for networks
    that are trained for something else.

    Args:
        channels: Size of dimension 1, C.
        extra: How many channels of zeros, K.

    Raises:
        ValueError: ``channels`` or ``extra`` is below 1; in a call, the input has another
            dimension 1.
    """

    is_affine = True

    def __init__(self, channels: int, extra: int) -> None:
        super().__init__()
        check_channels(self, channels)
        if extra < 1:
            raise ValueError(f"ZeroPadding: extra must be at least 1, not {extra}")
        self.channels, self.extra = channels, extra

    def _pad(self, x: Tensor) -> Tensor:
        return F.pad(x, [*[0] * (2 * (x.ndim - 2)), 0, self.extra])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x, self.channels)
        return self._pad(x), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, y, self.channels + self.extra)
        return y[:, : self.channels], y.new_zeros(y.shape[0])

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """1 and 1: an isometry onto its image, and a projection has norm 1."""
        return BiLipschitz(1.0, 1.0)

    def image(self, box: Box) -> Box:
        return box.each(self._pad)
