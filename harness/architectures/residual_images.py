"""The frame that the residual architectures for images share."""

from collections.abc import Callable
from typing import cast

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.given import check_image
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.shape.reshape import Flatten, Squeeze
from harness.registry import Combination, Shape


def image_refusal(combination: Combination) -> str | None:
    """Why a residual flow of so many ``levels`` cannot take these inputs."""
    name, shape = combination.architecture.name, combination.shape
    levels = cast(int, combination.architecture.parameters["levels"])
    if len(shape) != 3:
        return f"{name} needs images (channels, height, width), and this dataset's shape is {shape}"
    factor = 2 ** (levels - 1)
    if shape[1] % factor or shape[2] % factor:
        return f"{name} halves height and width {levels - 1} times, which {shape} does not allow"
    return None


def residual_images(
    shape: Shape, block: Callable[[Shape], Bijection], *, levels: int, blocks: int, actnorm: bool
) -> Bijection:
    """Levels of [[ActNorm,] block] with a squeeze between them, ``(B, C, H, W) → (B, D)``.

    Nothing is split off: all dimensions go through all blocks (arXiv 1906.02735). It is handed
    over in evaluation mode, where log-dets are exact; training switches.

    Args:
        shape: Of an image.
        block: Builds a block for images of a shape.
        levels: How many sizes of images there are.
        blocks: Per level.
        actnorm: Whether an ActNorm comes before each block.
    """
    channels, height, width = check_image("residual flow of images", shape)
    parts: list[Bijection] = []
    for level in range(levels):
        if level:
            parts.append(Squeeze())
            channels, height, width = 4 * channels, height // 2, width // 2
        for _ in range(blocks):
            if actnorm:
                parts.append(ActNorm(channels))
            parts.append(block((channels, height, width)))
    parts.append(Flatten((channels, height, width)))
    return Chain(parts).eval()
