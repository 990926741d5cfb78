"""Momentum residual network as a flow of vectors."""

import math
from typing import Annotated

import torch
from pydantic import Field

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.residual.momentum import MomentumResidual
from harness.bijections.shape.reshape import Flatten
from harness.registry import Combination, Shape, entry


def _refuses(combination: Combination) -> str | None:
    return _odd(math.prod(combination.shape))


def _odd(dimension: int) -> str | None:
    if dimension % 2 == 0:
        return None
    return (
        f"momentum_residual splits its input into two halves, which {dimension} dimensions have not"
    )


@entry(version=1, refuses=_refuses)
def momentum_residual(
    shape: Shape,
    generator: torch.Generator,
    *,
    steps: Annotated[int, Field(ge=1, le=1000)] = 16,
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    actnorm: bool = True,
) -> Bijection:
    """Momentum residual network: any f, and an inverse gain of ``momentum^-steps``.

    ``v ← γ v + (1 - γ) f(x)``, ``x ← x + v``, arXiv 2102.07870; x and v start as the halves of the
    flattened input. All steps change the volume by a constant, so with ``actnorm`` one stands
    before them and one behind.

    Raises:
        ValueError: The input has an odd number of dimensions.
    """
    dimension = math.prod(shape)
    message = _odd(dimension)
    if message is not None:
        raise ValueError(message)
    half = dimension // 2
    networks = [mlp(half, half, width, layers, generator) for _ in range(steps)]
    inner: list[Bijection] = [MomentumResidual(networks, momentum)]
    if actnorm:
        inner = [ActNorm(dimension), *inner, ActNorm(dimension)]
    return Chain([Flatten(shape), *inner])
