"""Additive coupling flow."""

from typing import Annotated

import torch
from pydantic import Field

from harness.architectures.coupling_flow import (
    ConditionerName,
    SplitName,
    coupling_flow,
    one_dimension,
)
from harness.architectures.mixing import Mixing
from harness.bijections.base import Bijection
from harness.bijections.transformers.elementwise import Additive
from harness.registry import Shape, entry

# The couplings of arXiv 1410.8516 for MNIST; its last, diagonal scaling is not here, and its
# rectifiers are SiLU.
NICE = {
    "couplings": 4,
    "width": 1000,
    "layers": 5,
    "split": "alternating",
    "mixing": "none",
    "actnorm": False,
}


@entry(version=1, refuses=one_dimension, presets={"nice": NICE})
def additive(
    shape: Shape,
    generator: torch.Generator,
    *,
    couplings: Annotated[int, Field(ge=1, le=1000)] = 16,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    mixing: Mixing = "permutation",  # type: ignore[assignment]
    actnorm: bool = True,
    split: SplitName = "halves",
    conditioner: ConditionerName = "mlp",
) -> Bijection:
    """Additive coupling (NICE): bounded both ways by its conditioner.

    ``y₂ = x₂ + t(x₁)``, arXiv 1410.8516; ActNorm and mixing between couplings as in Glow.
    The preset ``nice`` is NICE itself, without its last scaling.
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
