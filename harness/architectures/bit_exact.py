"""Additive coupling flow in fixed-point arithmetic."""

import math
from typing import Annotated

import torch
from pydantic import Field

from harness.architectures.coupling_flow import one_dimension
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.bit_exact import BitExactCoupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.permutation import Permutation
from harness.bijections.shape.reshape import Flatten
from harness.registry import Shape, entry


@entry(version=1, refuses=one_dimension)
def bit_exact(
    shape: Shape,
    generator: torch.Generator,
    *,
    couplings: Annotated[int, Field(ge=1, le=1000)] = 16,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    integer_bits: Annotated[int, Field(ge=0, le=64)] = 8,
) -> Bijection:
    """Additive coupling on a fixed-point grid: what is on it comes back to the last bit.

    ``y_b = Q(x_b) + Q(t(y_a))``, rounded to multiples of ``2^(integer_bits - 24)`` in float32;
    exact within ``±2^integer_bits``, at any depth, trained or not. Other inputs are rounded to
    the grid once. No ActNorm, whose products would leave the grid, so volume is preserved.

    Raises:
        ValueError: The input has fewer than two dimensions, so nothing can be split.
    """
    dimension = math.prod(shape)
    if dimension < 2:
        message = f"bit_exact: a coupling needs at least 2 dimensions to split, not {dimension}"
        raise ValueError(message)
    first = dimension // 2
    parts: list[Bijection] = [Flatten(shape)]
    for number in range(couplings):
        if dimension > 2:
            parts.append(Permutation.random(dimension, generator))
        swap = number % 2 == 1
        kept = dimension - first if swap else first
        network = mlp(kept, dimension - kept, width, layers, generator)
        parts.append(BitExactCoupling(first, network, integer_bits=integer_bits, swap=swap))
    return Chain(parts)
