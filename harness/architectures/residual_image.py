"""Residual flow for images."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from harness.architectures.residual_images import image_refusal, residual_images
from harness.bijections.base import Bijection
from harness.bijections.residual.activations import ACTIVATIONS
from harness.bijections.residual.lipschitz_convolutions import LipschitzConvolutions
from harness.bijections.residual.log_determinant import Series
from harness.bijections.residual.residual import Residual
from harness.registry import Shape, entry


@entry(version=1, branches=("inverse",), refuses=image_refusal)
def residual_image(
    shape: Shape,
    generator: torch.Generator,
    *,
    levels: Annotated[int, Field(ge=1)] = 2,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 2,
    width: Annotated[int, Field(ge=1)] = 16,
    coefficient: Annotated[float, Field(gt=0, lt=1)] = 0.9,
    activation: Literal["elu", "lip_swish", "clip_swish"] = "lip_swish",
    log_det: Literal["exact", "series"] = "series",
    terms: Annotated[int, Field(ge=1)] = 8,
    actnorm: bool = True,
) -> Bijection:
    """Convolutional i-ResNet: bounded both ways by certified norms of its convolutions.

    ``y = x + g(x)`` with ``Lip(g) ≤ coefficient``, arXiv 1811.00995. Training estimates the
    log-det by a power series of ``terms`` terms with random signs, unless ``log_det`` is exact;
    evaluation has the exact one. ``blocks`` is per level.
    """

    def block(shape: Shape) -> Bijection:
        network = LipschitzConvolutions(
            shape, width, coefficient, generator, ACTIVATIONS[activation]
        )
        series = Series(terms, math.prod(shape), generator) if log_det == "series" else None
        return Residual(network, in_training=series, accelerated=True)

    return residual_images(shape, block, levels=levels, blocks=blocks, actnorm=actnorm)
