"""Additive coupling flow."""

from typing import Annotated

import torch
from pydantic import Field

from harness.architectures.coupling_flow import ConditionerName, Mixing, SplitName, coupling_flow
from harness.bijections.base import Bijection
from harness.bijections.transformers import Additive
from harness.registry import Shape, entry


@entry(version=1)
def additive(
    shape: Shape,
    generator: torch.Generator,
    *,
    couplings: Annotated[int, Field(ge=1, le=1000)] = 16,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    mixing: Mixing = "permutation",
    actnorm: bool = True,
    split: SplitName = "halves",
    conditioner: ConditionerName = "mlp",
) -> Bijection:
    """Additive coupling (NICE): bounded both ways by its conditioner.

    ``y₂ = x₂ + t(x₁)``, arXiv 1410.8516; ActNorm and mixing between couplings as in Glow.
    NICE itself: ``couplings: 4, split: alternating, actnorm: false``, without its last scaling.
    """
    return coupling_flow(
        shape,
        generator,
        Additive(),
        couplings=couplings,
        width=width,
        layers=layers,
        mixing=mixing,
        actnorm=actnorm,
        split=split,
        conditioner=conditioner,
    )
