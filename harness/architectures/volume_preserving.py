"""Volume-preserving coupling flow."""

from typing import Annotated, Any

import torch
from pydantic import Field

from harness import registry
from harness.architectures.coupling_flow import ConditionerName, Mixing, SplitName, coupling_flow
from harness.bijections.base import Bijection
from harness.bijections.transformers import Order
from harness.bijections.volume_preserving import VolumePreserving
from harness.registry import Nested, Shape, entry


@entry(version=1)
def volume_preserving(
    shape: Shape,
    generator: torch.Generator,
    *,
    scale: Annotated[dict[str, Any], Nested("scale_map")] = "bounded_exp",  # type: ignore[assignment]
    couplings: Annotated[int, Field(ge=1, le=1000)] = 16,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    mixing: Mixing = "permutation",
    actnorm: bool = True,
    order: Order = "scale_first",
    split: SplitName = "halves",
    conditioner: ConditionerName = "mlp",
) -> Bijection:
    """Affine coupling whose scales multiply to 1 (GIN): additive's log-det, affine's bounds.

    Sorrenson et al. 2020, arXiv 2001.04872. A single changed dimension is only shifted, so from
    three dimensions on it is more than additive coupling. The volume moves in ActNorm and mixing.
    """
    return coupling_flow(
        shape,
        generator,
        VolumePreserving(registry.build("scale_map", scale), order),
        couplings=couplings,
        width=width,
        layers=layers,
        mixing=mixing,
        actnorm=actnorm,
        split=split,
        conditioner=conditioner,
    )
