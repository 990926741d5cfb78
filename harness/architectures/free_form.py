"""Free-form flow for vectors."""

import math
from typing import Annotated

import torch
from pydantic import Field

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.networks import mlp
from harness.bijections.free_form import FreeForm
from harness.bijections.shape.reshape import Flatten
from harness.registry import Combination, Shape, entry

LARGEST = 32
"""Dimensions: each costs an evaluation of the network's gradient at every step."""


def _refuses(combination: Combination) -> str | None:
    dimension, regularizer = math.prod(combination.shape), combination.regularizer.name
    if dimension > LARGEST:
        return (
            f"free_form takes its log-det from the whole Jacobian, so it needs at most {LARGEST} "
            f"dimensions, not {dimension}"
        )
    if regularizer != "reconstruction":
        return (
            "free_form needs the regularizer reconstruction: with "
            f"{regularizer} nothing trains its inverse, and its likelihood is not one"
        )
    return None


@entry(version=1, refuses=_refuses, learns_inverse=True)
def free_form(
    shape: Shape,
    generator: torch.Generator,
    *,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
) -> Bijection:
    """Free-form flow: any network, inverted by a second one that learns to; no inverse bound.

    ``y = x + f(x)``, ``x ≈ y + g(y)``, arXiv 2310.16624. The regularizer ``reconstruction`` trains
    g, and keeps F from folding its inputs over each other: the likelihood of a map that folds adds
    up to more than 1, and looks better for it. Reconstruction errors are the model's own, in any
    precision, and have the status ``not_converged``.
    """
    dimension = math.prod(shape)
    network, inverse = (mlp(dimension, dimension, width, layers, generator) for _ in range(2))
    return Chain([Flatten(shape), FreeForm(network, inverse)])
