"""Images as sequences of patches."""

from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.given import check_image, check_least, check_shape
from harness.registry import Shape


class Patches(Bijection):
    """``(B, C, H, W) → (B, C·p², T)``: T = HW / p² patches of p × p, row by row.

    It only rearranges numbers, so both constants are 1.

    Args:
        shape: ``(C, H, W)``.
        size: p.

    Raises:
        ValueError: ``shape`` is not that of an image, or p is below 1 or divides not both height
            and width; in a call, the input has another shape.
    """

    is_affine = True

    def __init__(self, shape: Shape, size: int) -> None:
        super().__init__()
        channels, height, width = check_image("Patches", shape)
        check_least("Patches", 1, size=size)
        if height % size or width % size:
            message = f"Patches: patches of size {size} do not tile images of {height} × {width}"
            raise ValueError(message)
        self.shape = (channels, height, width)
        self.apart = (channels, height // size, size, width // size, size)
        self.features = channels * size**2
        self.count = height // size * (width // size)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_shape("Patches", x, self.shape)
        patches = x.reshape(-1, *self.apart).permute(0, 1, 3, 5, 2, 4)
        return patches.reshape(-1, self.features, self.count), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_shape("Patches", y, (self.features, self.count))
        channels, rows, size, columns, _ = self.apart
        patches = y.reshape(-1, channels, size, size, rows, columns).permute(0, 1, 4, 2, 5, 3)
        return patches.reshape(-1, channels, rows * size, columns * size), y.new_zeros(y.shape[0])

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, 1.0)

    def image(self, box: Box) -> Box:
        return box.each(lambda x: self(x)[0])
