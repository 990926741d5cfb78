"""Affine coupling flow with any scale map."""

from typing import Annotated, Any

import torch
from pydantic import Field

from harness import registry
from harness.architectures.coupling_flow import (
    ConditionerName,
    SplitName,
    coupling_flow,
    one_dimension,
)
from harness.architectures.mixing import Mixing
from harness.bijections.base import Bijection
from harness.bijections.transformers.elementwise import Affine, Order
from harness.bijections.transformers.volume_preserving import VolumePreserving
from harness.registry import Nested, Shape, entry

# The scale map of arXiv 1605.08803, its limit fixed, in the size of arXiv 1705.07057's RealNVP (5)
# for data of few dimensions; its batch normalization is by running statistics.
REAL_NVP = {
    "scale": "bounded_exp",
    "couplings": 5,
    "width": 100,
    "split": "alternating",
    "mixing": "none",
    "actnorm": False,
    "batch_norm": True,
}
# A level of arXiv 1807.03039 with vectors for images: 32 steps of ActNorm, W = PLU and a coupling
# that shifts first, as its code does. Its networks are convolutions, so the width is the default.
GLOW_VECTORS = {"couplings": 32, "mixing": "lu", "order": "shift_first"}
# arXiv 2006.09347 by its code. The densities of a checkerboard: 100 pairs of couplings, no ActNorm;
# "modified" has scales in (1/2, 1). Its weight decay is 1e-5, over 50,000 steps of 500 samples.
PAPER_CHECKERBOARD = {
    "couplings": 200,
    "width": 128,
    "layers": 4,
    "mixing": "none",
    "actnorm": False,
}
PAPER_CHECKERBOARD_MODIFIED = {**PAPER_CHECKERBOARD, "scale": "bounded_sigmoid"}
# Its regression in two dimensions: 3 levels of 8 steps that do not differ.
PAPER_REGRESSION = {
    "scale": {"name": "sigmoid", "floor": 1e-6},
    "couplings": 24,
    "width": 10,
    "mixing": "reverse",
    "order": "shift_first",
}
PRESETS = {
    "glow_vectors": GLOW_VECTORS,
    "paper_checkerboard": PAPER_CHECKERBOARD,
    "paper_checkerboard_modified": PAPER_CHECKERBOARD_MODIFIED,
    "paper_regression": PAPER_REGRESSION,
    "real_nvp": REAL_NVP,
}


@entry(version=1, refuses=one_dimension, presets=PRESETS)
def affine(
    shape: Shape,
    generator: torch.Generator,
    *,
    scale: Annotated[dict[str, Any], Nested("scale_map")] = "sigmoid",  # type: ignore[assignment]
    couplings: Annotated[int, Field(ge=1, le=1000)] = 16,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    mixing: Mixing = "permutation",  # type: ignore[assignment]
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
