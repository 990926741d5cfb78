"""Maps that only rearrange numbers: orthogonal, so both constants are 1."""

import math

from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.given import check_shape
from harness.registry import Shape


class Flatten(Bijection):
    """``(B, *shape) → (B, D)``.

    Raises:
        ValueError: A size is below 1; in a call, the input has another shape.
    """

    is_affine = True

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        if min(shape, default=1) < 1:
            raise ValueError(f"Flatten: shape must hold sizes of at least 1, not {tuple(shape)}")
        self.shape = tuple(shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_shape("Flatten", x, self.shape)
        return x.reshape(x.shape[0], math.prod(self.shape)), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_shape("Flatten", y, (math.prod(self.shape),))
        return y.reshape(y.shape[0], *self.shape), y.new_zeros(y.shape[0])

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, 1.0)

    def image(self, box: Box) -> Box:
        return box.each(lambda x: self(x)[0])


class Squeeze(Bijection):
    """``(B, C, H, W) → (B, 4C, H/2, W/2)``: each 2×2 square becomes channels (RealNVP).

    Raises:
        ValueError: In a call, the input is no batch of images, or its height or width is odd.
    """

    is_affine = True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.ndim != 4 or x.shape[2] % 2 or x.shape[3] % 2:
            message = (
                "Squeeze: the input must be (batch, channels, even height, even width), not of"
            )
            raise ValueError(f"{message} shape {tuple(x.shape)}")
        b, c, h, w = x.shape
        squares = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
        return squares.reshape(b, 4 * c, h // 2, w // 2), x.new_zeros(b)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if y.ndim != 4 or y.shape[1] % 4:
            message = "Squeeze: the inverse takes (batch, 4 · channels, height, width), not"
            raise ValueError(f"{message} shape {tuple(y.shape)}")
        b, c, h, w = y.shape
        squares = y.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
        return squares.reshape(b, c // 4, 2 * h, 2 * w), y.new_zeros(b)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, 1.0)

    def image(self, box: Box) -> Box:
        return box.each(lambda x: self(x)[0])
