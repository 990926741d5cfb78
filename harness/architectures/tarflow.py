"""A small TarFlow for images."""

from typing import Annotated, Any, cast

import torch
from pydantic import Field

from harness import registry
from harness.bijections.autoregressive.causal_transformer import CausalTransformer
from harness.bijections.autoregressive.patch_autoregressive import PatchAutoregressive
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.shape.patches import Patches
from harness.bijections.shape.reshape import Flatten
from harness.bijections.transformers.elementwise import Affine
from harness.registry import Combination, Nested, Shape, entry


def _refuses(combination: Combination) -> str | None:
    shape, parameters = combination.shape, combination.architecture.parameters
    patch, width, heads = (cast(int, parameters[name]) for name in ("patch", "width", "heads"))
    if width % heads:
        return f"tarflow's width {width} must be a multiple of its heads {heads}"
    if len(shape) != 3:
        return (
            f"tarflow needs images (channels, height, width), and this dataset's shape is {shape}"
        )
    if shape[1] % patch or shape[2] % patch or shape[1] * shape[2] == patch**2:
        return f"tarflow needs two or more patches of {patch}×{patch}, and {shape} has not"
    return None


# The model of likelihoods on ImageNet 64×64 in arXiv 2412.06329: 2-768-8-8, heads of 64.
IMAGENET64 = {"blocks": 8, "patch": 2, "width": 768, "heads": 12, "layers": 8}


@entry(version=1, refuses=_refuses, presets={"imagenet64": IMAGENET64})
def tarflow(
    shape: Shape,
    generator: torch.Generator,
    *,
    scale: Annotated[dict[str, Any], Nested("scale_map")] = "exp",  # type: ignore[assignment]
    blocks: Annotated[int, Field(ge=1, le=1000)] = 4,
    patch: Annotated[int, Field(ge=1)] = 2,
    width: Annotated[int, Field(ge=1)] = 32,
    heads: Annotated[int, Field(ge=1)] = 2,
    layers: Annotated[int, Field(ge=1)] = 2,
) -> Bijection:
    """TarFlow: causal transformers scale and shift patches by those before; bounded on a box only.

    arXiv 2412.06329, without its noise, guidance and denoising. Every other block goes from the
    last patch to the first. Sampling takes one pass a patch in each block.
    """
    patches = Patches(shape, patch)
    transformer = Affine(registry.build("scale_map", scale))
    parts: list[Bijection] = [patches]
    for number in range(blocks):
        network = CausalTransformer(
            patches.count,
            patches.features,
            transformer.parameters_per_element * patches.features,
            width=width,
            heads=heads,
            layers=layers,
            generator=generator,
        )
        parts.append(PatchAutoregressive(network, transformer, reverse=number % 2 == 1))
    return Chain([*parts, Flatten((patches.features, patches.count))])
