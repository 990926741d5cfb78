"""Residual flow for vectors."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.residual.activations import ACTIVATIONS
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.log_determinant import Series
from harness.bijections.residual.residual import Residual
from harness.bijections.shape.reshape import Flatten
from harness.registry import Shape, entry

# The densities of a checkerboard in arXiv 2006.09347, by its code: each of 5 linear layers has a
# norm of at most 0.7, together 0.7⁵, which 0.7**5 is not to the last bit.
PAPER_CHECKERBOARD = {
    "blocks": 100,
    "width": 128,
    "layers": 4,
    "coefficient": 0.16807,
    "actnorm": False,
}


@entry(version=1, branches=("inverse",), presets={"paper_checkerboard": PAPER_CHECKERBOARD})
def residual(
    shape: Shape,
    generator: torch.Generator,
    *,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 4,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    coefficient: Annotated[float, Field(gt=0, lt=1)] = 0.9,
    activation: Literal["elu", "lip_swish", "clip_swish"] = "lip_swish",
    log_det: Literal["exact", "series"] = "exact",
    terms: Annotated[int, Field(ge=1)] = 8,
    actnorm: bool = True,
    accelerated: bool = False,
) -> Bijection:
    """Invertible residual blocks (i-ResNet): bounded both ways by construction.

    ``y = x + g(x)`` with ``Lip(g) ≤ coefficient``, arXiv 1811.00995. The log-det is exact; with
    ``log_det: series`` training estimates it by a power series of ``terms`` terms with random
    signs, and evaluation has the exact one. The inverse is a plain fixed-point iteration, or
    ``accelerated`` by Anderson's method.
    """
    dimension = math.prod(shape)
    parts: list[Bijection] = [Flatten(shape)]
    for _ in range(blocks):
        if actnorm:
            parts.append(ActNorm(dimension))
        network = LipschitzNetwork(
            dimension, width, layers, coefficient, generator, ACTIVATIONS[activation]
        )
        series = Series(terms, dimension, generator) if log_det == "series" else None
        parts.append(Residual(network, in_training=series, accelerated=accelerated))
    return Chain(parts).eval()
