"""Inverse autoregressive flow."""

from typing import Annotated, Any

import torch
from pydantic import Field

from harness import registry
from harness.architectures.autoregressive_flow import Order, autoregressive_flow, refuses
from harness.bijections.base import Bijection
from harness.registry import Nested, Shape, entry


@entry(version=1, refuses=refuses)
def iaf(
    shape: Shape,
    generator: torch.Generator,
    *,
    transformer: Annotated[dict[str, Any], Nested("transformer")] = "affine",  # type: ignore[assignment]
    blocks: Annotated[int, Field(ge=1, le=1000)] = 2,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    order: Order = "reverse",
    actnorm: bool = True,
) -> Bijection:
    """Inverse autoregressive flow: sampling in one pass, density in one pass a dimension.

    ``y = F⁻¹(x)`` block by block, F masked autoregressive: arXiv 1606.04934. It trains by density
    here, so a training step takes as many passes in turn as there are dimensions, and D times the
    memory of ``maf``. An affine transformer has no global bound.
    """
    return autoregressive_flow(
        shape,
        generator,
        registry.build("transformer", transformer),
        blocks=blocks,
        width=width,
        layers=layers,
        order=order,
        actnorm=actnorm,
        inverse=True,
    )
