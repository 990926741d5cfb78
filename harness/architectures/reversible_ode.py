"""Reversible neural ODE for vectors."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from harness.architectures.mixing import Mixing, mixed
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.continuous.reversible_ode import ReversibleODE
from harness.bijections.continuous.vector_field import VectorField
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.shape.reshape import Flatten
from harness.registry import Combination, Shape, entry


def _refuses(combination: Combination) -> str | None:
    return _odd(math.prod(combination.shape))


def _odd(dimension: int) -> str | None:
    if dimension % 2 == 0:
        return None
    return f"reversible_ode halves its input, so it needs an even dimension, not {dimension}"


@entry(version=1, refuses=_refuses)
def reversible_ode(
    shape: Shape,
    generator: torch.Generator,
    *,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 4,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    solver: Literal["euler", "midpoint", "rk4"] = "midpoint",
    steps: Annotated[int, Field(ge=1, le=10_000)] = 4,
    coupling: Annotated[float, Field(gt=0, le=1)] = 0.99,
    mixing: Mixing = "lu",  # type: ignore[assignment]
    actnorm: bool = True,
) -> Bijection:
    """Neural ODE by an algebraically reversible solver: exact inverse, bounded both ways.

    The coupled pair of McCallum and Foster, arXiv 2410.11648, on the two halves of the input;
    ``coupling`` is its λ, and the inverse amplifies rounding by up to ``λ^-steps``. It scales
    volumes by a constant, like an additive coupling, and so do ``mixing`` and ActNorm.

    Raises:
        ValueError: The input has an odd number of dimensions.
    """
    dimension = math.prod(shape)
    message = _odd(dimension)
    if message is not None:
        raise ValueError(message)
    parts: list[Bijection] = [Flatten(shape)]
    for _ in range(blocks):
        if actnorm:
            parts.append(ActNorm(dimension))
        parts += mixed(mixing, dimension, generator)
        field = VectorField(dimension // 2, width, layers, generator)
        parts.append(ReversibleODE(field, solver, steps, coupling))
    return Chain(parts)
