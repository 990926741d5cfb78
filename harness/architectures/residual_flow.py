"""Residual flow for images, trained without bias."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from harness.architectures.residual_images import image_refusal, residual_images
from harness.bijections.base import Bijection
from harness.bijections.residual.activations import ACTIVATIONS
from harness.bijections.residual.lipschitz_convolutions import LipschitzConvolutions
from harness.bijections.residual.log_determinant import Roulette
from harness.bijections.residual.residual import Residual
from harness.registry import Shape, entry

# The trained model on CIFAR-10 that arXiv 2006.09347 takes from arXiv 1906.02735, and its own for
# CelebA, by their code: each of 3 convolutions has a norm of at most 0.98. Both end in residual
# blocks of linear layers, which are not here; a longer series keeps the variance finite.
PAPER_CIFAR10 = {
    "levels": 3,
    "blocks": 16,
    "width": 512,
    "coefficient": 0.941192,  # 0.98³, which 0.98**3 is not to the last bit
    "continuation": 0.9,
}
PAPER_CELEBA64 = {**PAPER_CIFAR10, "levels": 4, "certain": 8}
PRESETS = {"paper_celeba64": PAPER_CELEBA64, "paper_cifar10": PAPER_CIFAR10}


@entry(version=1, branches=("forward", "inverse"), refuses=image_refusal, presets=PRESETS)
def residual_flow(
    shape: Shape,
    generator: torch.Generator,
    *,
    levels: Annotated[int, Field(ge=1)] = 2,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 2,
    width: Annotated[int, Field(ge=1)] = 16,
    coefficient: Annotated[float, Field(gt=0, lt=1)] = 0.9,
    activation: Literal["elu", "lip_swish", "clip_swish"] = "lip_swish",
    certain: Annotated[int, Field(ge=1)] = 2,
    continuation: Annotated[float, Field(gt=0, lt=1)] = 0.85,
    actnorm: bool = True,
) -> Bijection:
    """Residual Flow: the convolutional i-ResNet with an unbiased log-det in training.

    arXiv 1906.02735. A Russian roulette ends the power series after ``certain`` terms and more,
    with probability ``continuation`` of each further one; its default exceeds
    ``coefficient²``, so that the variance is finite. Evaluation has the exact log-det. ``blocks``
    is per level. The length of the series is read by the program, so no pack can run it.
    """

    def block(shape: Shape) -> Bijection:
        network = LipschitzConvolutions(
            shape, width, coefficient, generator, ACTIVATIONS[activation]
        )
        roulette = Roulette(certain, continuation, math.prod(shape), generator)
        return Residual(network, in_training=roulette, accelerated=True)

    return residual_images(shape, block, levels=levels, blocks=blocks, actnorm=actnorm)
