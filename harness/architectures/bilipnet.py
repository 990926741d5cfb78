"""Certified bi-Lipschitz network for vectors."""

import math
from typing import Annotated

import torch
from pydantic import Field

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.linear.orthogonal import Cayley
from harness.bijections.residual.strongly_monotone import StronglyMonotone
from harness.bijections.shape.reshape import Flatten
from harness.registry import Combination, Shape, entry


def _refuses(combination: Combination) -> str | None:
    smallest, largest = (
        float(str(combination.architecture.parameters[end])) for end in ("smallest", "largest")
    )
    if (largest - smallest) / (largest + smallest) < 1 and smallest < largest:
        return None
    if smallest < largest:
        return (
            f"bilipnet's 'smallest' {smallest} is nothing beside its 'largest' {largest}: "
            "its inverse would not converge"
        )
    return (
        f"bilipnet's 'smallest' must be below its 'largest', and {smallest} beside {largest} is not"
    )


@entry(version=1, branches=("inverse",), refuses=_refuses)
def bilipnet(
    shape: Shape,
    generator: torch.Generator,
    *,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 6,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 1,
    smallest: Annotated[float, Field(gt=0)] = 0.5,
    largest: Annotated[float, Field(gt=0)] = 2.0,
) -> Bijection:
    """BiLipNet: every block's singular values within [smallest, largest], whatever it learns.

    Strongly monotone Lipschitz layers behind orthogonal ones, arXiv 2402.01344; the paper's last
    orthogonal layer is left out, for a normal latent does not see it. All in all singular values
    stay within ``smallest^blocks`` and ``largest^blocks``, which training cannot change, and for
    that reason there is no ActNorm. A block scales what its ``width`` units do not see by
    ``smallest``, so the width should not be below the dimension.
    """
    dimension = math.prod(shape)
    parts: list[Bijection] = [Flatten(shape)]
    for _ in range(blocks):
        parts.append(Cayley(dimension, generator))
        parts.append(StronglyMonotone(dimension, width, layers, smallest, largest, generator))
    return Chain(parts)
