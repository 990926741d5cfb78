"""A small reversible transformer for images."""

from typing import Annotated, cast

import torch
from pydantic import Field

from harness.bijections.attention.token_networks import Attention, TokenMLP
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.shape.patches import Patches
from harness.bijections.shape.reshape import Flatten
from harness.bijections.transformers.elementwise import Additive
from harness.registry import Combination, Shape, entry


def _refuses(combination: Combination) -> str | None:
    shape, parameters = combination.shape, combination.architecture.parameters
    patch, width, heads = (cast(int, parameters[name]) for name in ("patch", "width", "heads"))
    if width % heads:
        return f"reversible_transformer's width {width} must be a multiple of its heads {heads}"
    if len(shape) != 3:
        return (
            "reversible_transformer needs images (channels, height, width), and this dataset's "
            f"shape is {shape}"
        )
    if shape[1] % patch or shape[2] % patch or shape[1] * shape[2] == patch**2:
        return (
            f"reversible_transformer needs two or more patches of {patch}×{patch}, and {shape} "
            "has not"
        )
    if shape[0] * patch**2 < 2:
        return (
            f"reversible_transformer splits the {shape[0] * patch**2} feature of a patch in two: "
            "choose larger patches"
        )
    return None


@entry(version=1, refuses=_refuses)
def reversible_transformer(
    shape: Shape,
    generator: torch.Generator,
    *,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 4,
    patch: Annotated[int, Field(ge=1)] = 2,
    width: Annotated[int, Field(ge=2)] = 32,
    heads: Annotated[int, Field(ge=1)] = 2,
    epsilon: Annotated[float, Field(gt=0)] = 1e-5,
) -> Bijection:
    """Reversible transformer (Rev-ViT): attention and mlp in turn on two streams of tokens.

    ``y₁ = x₁ + attention(x₂)``, ``y₂ = x₂ + mlp(y₁)``, arXiv 2302.04869, with normalisation
    first; the log-det is 0. Rev-ViT gives both streams a copy of the embedded patches; here a
    patch's features are split between them, so that the whole is a bijection, and each function
    embeds them by itself. ``epsilon`` is that of the normalisations: the bounds of each function
    grow with ``1 / √epsilon``.
    """
    patches = Patches(shape, patch)
    first = patches.features // 2
    second = patches.features - first
    parts: list[Bijection] = [patches]
    for _ in range(blocks):
        attention = Attention(
            patches.count,
            second,
            first,
            width=width,
            heads=heads,
            generator=generator,
            epsilon=epsilon,
        )
        mlp = TokenMLP(first, second, width=width, generator=generator, epsilon=epsilon)
        parts.append(Coupling(first, Additive(), attention, swap=True))
        parts.append(Coupling(first, Additive(), mlp))
    return Chain([*parts, Flatten((patches.features, patches.count))])
