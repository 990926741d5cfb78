"""Flow++ for vectors."""

from typing import Annotated

import torch
from pydantic import Field

from harness.architectures.coupling_flow import coupling_flow, one_dimension
from harness.architectures.mixing import Mixing
from harness.bijections.base import Bijection
from harness.bijections.transformers.mixture_transformer import MixtureOfLogistics
from harness.registry import Shape, entry


@entry(version=1, refuses=one_dimension)
def flow_plus_plus(
    shape: Shape,
    generator: torch.Generator,
    *,
    components: Annotated[int, Field(ge=1, le=256)] = 8,
    couplings: Annotated[int, Field(ge=1, le=1000)] = 8,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    mixing: Mixing = "permutation",  # type: ignore[assignment]
    actnorm: bool = True,
) -> Bijection:
    """Mixture-of-logistics coupling, inverted by bisection: no global bound.

    Ho et al. 2019, arXiv 1902.00275, its coupling; multi-layer perceptrons condition it here, in
    place of convolutions with attention, and nothing learns to dequantize.
    """
    return coupling_flow(
        shape,
        generator,
        MixtureOfLogistics(components),
        couplings=couplings,
        width=width,
        layers=layers,
        mixing=mixing,
        actnorm=actnorm,
    )
