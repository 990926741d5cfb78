"""Invertible DenseNet for images."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from harness.architectures.residual_images import image_refusal, residual_images
from harness.bijections.base import Bijection
from harness.bijections.residual.activations import ACTIVATIONS
from harness.bijections.residual.lipschitz_dense import LipschitzDense
from harness.bijections.residual.log_determinant import Series
from harness.bijections.residual.residual import Residual
from harness.registry import Combination, Shape, entry


def _refuses(combination: Combination) -> str | None:
    parameters = combination.architecture.parameters
    growth = ACTIVATIONS[str(parameters["activation"])].growth
    if int(str(parameters["growth"])) % growth:
        return f"i_densenet's growth must be a multiple of {growth} with this activation"
    return image_refusal(combination)


@entry(version=1, branches=("inverse",), refuses=_refuses)
def i_densenet(
    shape: Shape,
    generator: torch.Generator,
    *,
    levels: Annotated[int, Field(ge=1)] = 2,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 2,
    growth: Annotated[int, Field(ge=1)] = 16,
    depth: Annotated[int, Field(ge=1)] = 3,
    coefficient: Annotated[float, Field(gt=0, lt=1)] = 0.9,
    activation: Literal["elu", "lip_swish", "clip_swish"] = "clip_swish",
    log_det: Literal["exact", "series"] = "series",
    terms: Annotated[int, Field(ge=1)] = 8,
    actnorm: bool = True,
) -> Bijection:
    """i-DenseNet: residual blocks whose g concatenates, bounded both ways.

    ``y = x + g(x)`` with ``Lip(g) ≤ coefficient``, arXiv 2102.02694; log-dets as in
    ``residual_image``. ``blocks`` is per level, ``depth`` the concatenations of a block.
    """

    def block(shape: Shape) -> Bijection:
        network = LipschitzDense(
            shape, growth, depth, coefficient, generator, ACTIVATIONS[activation]
        )
        series = Series(terms, math.prod(shape), generator) if log_det == "series" else None
        return Residual(network, in_training=series, accelerated=True)

    return residual_images(shape, block, levels=levels, blocks=blocks, actnorm=actnorm)
