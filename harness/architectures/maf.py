"""Masked autoregressive flow."""

from typing import Annotated, Any

import torch
from pydantic import Field

from harness import registry
from harness.architectures.autoregressive_flow import Order, autoregressive_flow, refuses
from harness.architectures.mixing import Mixing
from harness.bijections.base import Bijection
from harness.registry import Nested, Shape, entry

# MAF (5) and MAF (10) of arXiv 1705.07057, in their size for data of few dimensions; its batch
# normalization is by running statistics.
MAF_5 = {
    "transformer": {"name": "affine", "scale": "exp"},
    "blocks": 5,
    "width": 100,
    "actnorm": False,
    "batch_norm": True,
}
MAF_10 = {**MAF_5, "blocks": 10}


@entry(version=1, refuses=refuses, presets={"maf_5": MAF_5, "maf_10": MAF_10})
def maf(
    shape: Shape,
    generator: torch.Generator,
    *,
    transformer: Annotated[dict[str, Any], Nested("transformer")] = "affine",  # type: ignore[assignment]
    blocks: Annotated[int, Field(ge=1, le=1000)] = 4,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    order: Order = "reverse",
    mixing: Mixing = "none",  # type: ignore[assignment]
    actnorm: bool = True,
    batch_norm: bool = False,
) -> Bijection:
    """Masked autoregressive flow: density in one pass, sampling in one pass a dimension.

    ``y_i = T(x_i; t(x_j : j before i))``, arXiv 1705.07057; ``transformer`` names T. Neighbouring
    blocks go through the elements in opposite orders. An affine T has no global bound.
    The paper's scale is ``exp``, and it has ``batch_norm``, here by running statistics.
    """
    return autoregressive_flow(
        shape,
        generator,
        registry.build("transformer", transformer),
        blocks=blocks,
        width=width,
        layers=layers,
        order=order,
        mixing=mixing,
        actnorm=actnorm,
        batch_norm=batch_norm,
    )
