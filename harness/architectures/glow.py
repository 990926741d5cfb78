"""Glow for small images."""

from typing import Annotated, Any, cast

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
from harness.bijections.transformers import Transformer
from harness.registry import Combination, Nested, Shape, entry


def _refuses(combination: Combination) -> str | None:
    shape, levels = combination.shape, combination.architecture.parameters["levels"]
    if len(shape) != 3:
        return f"glow needs images (channels, height, width), and this dataset's shape is {shape}"
    factor = 2 ** cast(int, levels)
    if shape[1] % factor or shape[2] % factor:
        return (
            f"glow halves height and width at each of {levels} levels, which {shape} does not allow"
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
) -> Bijection:
    """Glow: multi-scale, ActNorm, 1×1 convolution and coupling by a small convolutional network.

    Kingma & Dhariwal 2018, arXiv 1807.03039. ``steps`` is per level.
    """
    channels, height, width_of_image = shape
    parts, shapes = [], []
    elementwise: Transformer = registry.build("transformer", transformer)
    for _ in range(levels):
        channels, height, width_of_image = 4 * channels, height // 2, width_of_image // 2
        first = channels // 2
        level: list[Bijection] = [Squeeze()]
        for _ in range(steps):
            outputs = elementwise.parameters_per_element * (channels - first)
            conditioner = convolutional_network(first, outputs, width, generator)
            level += [
                ActNorm(channels),
                LULinear(channels, generator),
                Coupling(first, elementwise, conditioner),
            ]
        parts.append(Chain(level))
        shapes.append((channels, height, width_of_image))
        channels //= 2
    return MultiScale(parts, shapes)
