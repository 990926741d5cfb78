"""Affine coupling flow with any scale map."""

from typing import Annotated, Any

import torch
from pydantic import Field

from harness import registry
from harness.architectures.coupling_flow import Mixing, coupling_flow
from harness.bijections.base import Bijection
from harness.bijections.transformers import Affine
from harness.registry import Nested, Shape, entry


@entry(version=1)
def affine(
    shape: Shape,
    generator: torch.Generator,
    *,
    scale: Annotated[dict[str, Any], Nested("scale_map")] = "sigmoid",  # type: ignore[assignment]
    couplings: Annotated[int, Field(ge=1, le=1000)] = 16,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    mixing: Mixing = "permutation",
    actnorm: bool = True,
) -> Bijection:
    """Affine coupling (RealNVP): no global bound, and none on a box either if the scale nears 0.

    ``y₂ = x₂ · g(h₁) + h₂`` with ``h = t(x₁)``, arXiv 1605.08803; ``scale`` names g.
    """
    return coupling_flow(
        shape,
        generator,
        Affine(registry.build("scale_map", scale)),
        couplings=couplings,
        width=width,
        layers=layers,
        mixing=mixing,
        actnorm=actnorm,
    )
