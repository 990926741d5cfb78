"""Inverse autoregressive flow."""

from typing import Annotated, Any, cast

import torch
from pydantic import Field

from harness import registry
from harness.architectures import autoregressive_flow as frame
from harness.architectures.mixing import Mixing
from harness.bijections.base import Bijection
from harness.bijections.transformers.elementwise import Transformer
from harness.registry import Combination, Nested, Shape, entry


def _refuses(combination: Combination) -> str | None:
    if len(combination.shape) != 1:
        return (
            "iaf takes a pass in turn for each dimension in every training step, so it is for "
            f"vectors, and this dataset's shape is {combination.shape}"
        )
    return frame.refuses(combination) or _iterates(combination)


def _iterates(combination: Combination) -> str | None:
    given = combination.architecture.parameters["transformer"]
    try:
        transformer: Transformer = registry.build("transformer", cast(dict[str, Any], given))
    except ValueError as error:  # constants that do not go together
        return str(error)
    if transformer.closed_form:
        return None
    name = cast(dict[str, Any], given)["name"]
    return f"iaf needs a transformer with a closed-form inverse, which {name} has not"


@entry(version=1, refuses=_refuses)
def iaf(
    shape: Shape,
    generator: torch.Generator,
    *,
    transformer: Annotated[dict[str, Any], Nested("transformer")] = "affine",  # type: ignore[assignment]
    blocks: Annotated[int, Field(ge=1, le=1000)] = 2,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    order: frame.Order = "reverse",
    mixing: Mixing = "none",  # type: ignore[assignment]
    actnorm: bool = True,
) -> Bijection:
    """Inverse autoregressive flow: sampling in one pass, density in one pass a dimension.

    ``y = F⁻¹(x)`` block by block, F masked autoregressive: arXiv 1606.04934. It trains by density
    here, so a training step takes as many passes in turn as there are dimensions, and D times the
    memory of ``maf``. An affine transformer has no global bound.
    """
    return frame.autoregressive_flow(
        shape,
        generator,
        registry.build("transformer", transformer),
        blocks=blocks,
        width=width,
        layers=layers,
        order=order,
        mixing=mixing,
        actnorm=actnorm,
        inverse=True,
    )
