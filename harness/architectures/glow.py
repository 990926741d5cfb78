"""Glow for small images."""

from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field

from harness import registry
from harness.bijections.actnorm import ActNorm
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling import Coupling
from harness.bijections.linear import LULinear
from harness.bijections.multiscale import MultiScale
from harness.bijections.networks import convolutional_network
from harness.bijections.reshape import Squeeze
from harness.bijections.splits import Checkerboard, Halves
from harness.bijections.transformers import Transformer
from harness.registry import Combination, Nested, Shape, entry


def _refuses(combination: Combination) -> str | None:
    shape, parameters = combination.shape, combination.architecture.parameters
    levels, checkered = cast(int, parameters["levels"]), parameters["split"] == "checkerboard"
    if len(shape) != 3:
        return f"glow needs images (channels, height, width), and this dataset's shape is {shape}"
    factor = 2 ** (levels + checkered)  # what is left after all levels is parted once more
    if shape[1] % factor or shape[2] % factor:
        also = ", and parts what is left into the pixels of a checkerboard" if checkered else ""
        return (
            f"glow halves height and width at each of {levels} levels{also}, "
            f"which {shape} does not allow"
        )
    return None


@entry(version=1, refuses=_refuses)
def glow(
    shape: Shape,
    generator: torch.Generator,
    *,
    transformer: Annotated[dict[str, Any], Nested("transformer")] = "affine",  # type: ignore[assignment]
    levels: Annotated[int, Field(ge=1)] = 2,
    steps: Annotated[int, Field(ge=1)] = 4,
    width: Annotated[int, Field(ge=1)] = 32,
    split: Literal["channels", "checkerboard"] = "channels",
) -> Bijection:
    """Glow: multi-scale, ActNorm, 1×1 convolution and coupling by a small convolutional network.

    Kingma & Dhariwal 2018, arXiv 1807.03039. ``steps`` is per level. A checkerboard is RealNVP's
    split (arXiv 1605.08803): which pixels are kept alternates from step to step.
    """
    channels, height, width_of_image = shape
    parts, shapes = [], []
    elementwise: Transformer = registry.build("transformer", transformer)
    for _ in range(levels):
        channels, height, width_of_image = 4 * channels, height // 2, width_of_image // 2
        parting = Halves(channels // 2) if split == "channels" else Checkerboard()
        kept, changed = parting.channels(channels)
        level: list[Bijection] = [Squeeze()]
        for number in range(steps):
            outputs = elementwise.parameters_per_element * changed
            conditioner = convolutional_network(kept, outputs, width, generator)
            swap = split == "checkerboard" and number % 2 == 1
            level += [
                ActNorm(channels),
                LULinear(channels, generator),
                Coupling(parting, elementwise, conditioner, swap=swap),
            ]
        parts.append(Chain(level))
        shapes.append((channels, height, width_of_image))
        channels //= 2
    return MultiScale(parts, shapes)
