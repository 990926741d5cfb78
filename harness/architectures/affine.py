"""Affine coupling flow with any scale map."""

from typing import Annotated, Any

import torch
from pydantic import Field

from harness import registry
from harness.architectures.coupling_flow import ConditionerName, Mixing, SplitName, coupling_flow
from harness.bijections.base import Bijection
from harness.bijections.transformers import Affine, Order
from harness.bijections.volume_preserving import VolumePreserving
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
    order: Order = "scale_first",
    volume_preserving: bool = False,
    split: SplitName = "halves",
    conditioner: ConditionerName = "mlp",
    batch_norm: bool = False,
) -> Bijection:
    """Affine coupling (RealNVP): bounded on a box only, and worse there as the scale nears 0.

    ``y₂ = x₂ · g(h₁) + h₂`` with ``h = t(x₁)``, arXiv 1605.08803; ``scale`` names g. RealNVP's own
    is ``bounded_exp``, there with a learnt limit, and ``batch_norm`` after each coupling, here by
    running statistics; Glow's code shifts first, by ``sigmoid``.
    GIN (arXiv 2001.04872) is ``volume_preserving``: from three dimensions on its scales differ,
    and the volume moves in ActNorm and mixing alone.
    """
    transformer = VolumePreserving if volume_preserving else Affine
    return coupling_flow(
        shape,
        generator,
        transformer(registry.build("scale_map", scale), order),
        couplings=couplings,
        width=width,
        layers=layers,
        mixing=mixing,
        actnorm=actnorm,
        split=split,
        conditioner=conditioner,
        batch_norm=batch_norm,
    )
