"""Additive reversible residual network for images."""

from typing import Annotated, cast

import torch
from pydantic import Field

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import convolutional_network
from harness.bijections.given import check_image
from harness.bijections.shape.reshape import Flatten, Squeeze
from harness.bijections.transformers.elementwise import Additive
from harness.registry import Combination, Shape, entry


def _refuses(combination: Combination) -> str | None:
    shape = combination.shape
    levels = cast(int, combination.architecture.parameters["levels"])
    if len(shape) != 3:
        return f"revnet needs images (channels, height, width), and this dataset's shape is {shape}"
    if shape[1] % 2**levels or shape[2] % 2**levels:
        return (
            f"revnet halves height and width at each of {levels} levels, which {shape} does "
            "not allow"
        )
    return None


@entry(version=1, refuses=_refuses)
def revnet(
    shape: Shape,
    generator: torch.Generator,
    *,
    levels: Annotated[int, Field(ge=1)] = 2,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 3,
    width: Annotated[int, Field(ge=1)] = 32,
) -> Bijection:
    """Additive RevNet / i-RevNet: the body of an image classifier, bounded both ways.

    ``y₁ = x₁ + f(x₂)``, ``y₂ = x₂ + g(y₁)`` for the two halves of the channels, ``blocks`` times
    at each level (RevNet, arXiv 1707.04585; i-RevNet's blocks have f alone, arXiv 1802.07088). The
    log-det is 0. f and g are convolutions 3×3, 1×1, 3×3 with SiLU between and a last layer of
    zeros. They have no batch normalisation, for it would make a sample depend on its batch mates.

    Every level begins with a squeeze, as in the bijective i-RevNet: RevNet's strides lose
    information, and channels that were split off would not reach a classifier's head. Nothing is
    padded: with channels of zeros there are more latent dimensions than inputs, and no density of
    the inputs (see :class:`harness.bijections.shape.padding.ZeroPadding`).
    """
    channels, height, width_of_image = check_image("revnet", shape)
    parts: list[Bijection] = []
    for _ in range(levels):
        channels, height, width_of_image = 4 * channels, height // 2, width_of_image // 2
        parts.append(Squeeze())
        for number in range(2 * blocks):
            function = convolutional_network(channels // 2, channels // 2, width, generator)
            swap = number % 2 == 0
            parts.append(Coupling(channels // 2, Additive(), function, swap=swap))
    return Chain([*parts, Flatten((channels, height, width_of_image))])
