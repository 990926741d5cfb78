"""The frame that the autoregressive architectures for vectors share."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch

from harness.architectures.mixing import mixed
from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.inverse import Inverse
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.batch_norm import BatchNorm
from harness.bijections.shape.reshape import Flatten
from harness.bijections.transformers.elementwise import Transformer
from harness.bijections.transformers.spline_transformer import unfit_choice
from harness.registry import Combination, Shape

Order = Literal["reverse", "random"]


def refuses(combination: Combination) -> str | None:
    """Whether there is nothing to condition on, or what the parameters say is not meant so."""
    name, shape = combination.architecture.name, combination.shape
    parameters = combination.architecture.parameters
    if math.prod(shape) < 2:
        return f"{name} conditions elements on others, so it needs at least 2 dimensions: {shape}"
    transformer, mixing = parameters["transformer"], parameters["mixing"]
    if isinstance(transformer, dict) and transformer.get("name") == "volume_preserving":
        return f"{name} needs a transformer of single elements, which volume_preserving is not"
    if isinstance(mixing, dict) and mixing["name"] == "reverse" == parameters["order"]:
        return f"{name}'s order reverse and its mixing reverse undo each other: leave one of them"
    return unfit_choice(transformer)


def autoregressive_flow(
    shape: Shape,
    generator: torch.Generator,
    transformer: Transformer,
    *,
    blocks: int,
    width: int,
    layers: int,
    order: Order,
    mixing: Mapping[str, Any],
    actnorm: bool,
    inverse: bool = False,
    context: int = 0,
    batch_norm: bool = False,
) -> Bijection:
    """Steps of [ActNorm, mixing,] masked autoregressive block over the flattened input.

    Args:
        shape: Of an input, without the batch.
        generator: Draws weights and orders.
        transformer: The elementwise map.
        blocks: How many.
        width: Of the masked networks.
        layers: Their hidden layers.
        order: Every other block goes from the last element to the first, or each block in an
            order drawn at random.
        mixing: The linear map before each block.
        actnorm: Whether there is ActNorm before each block.
        inverse: Each block runs in the other direction.
        context: How many numbers a context ``(B, context)`` has; 0 for none.
        batch_norm: Whether there is batch norm after each block.

    Raises:
        ValueError: There are fewer than two dimensions, and no context.
    """
    dimension = math.prod(shape)
    parts: list[Bijection] = [Flatten(shape)]
    for number in range(blocks):
        if actnorm:
            parts.append(ActNorm(dimension))
        parts += mixed(mixing, dimension, generator)
        if order == "random":
            position = torch.randperm(dimension, generator=generator)
        else:
            position = torch.arange(dimension)
            position = position.flip(0) if number % 2 else position
        outputs = transformer.parameters_per_element
        network = MaskedNetwork(
            dimension, outputs, width, layers, generator, position=position, context=context
        )
        block = MaskedAutoregressive(network, transformer)
        parts.append(Inverse(block) if inverse else block)
        if batch_norm:
            parts.append(BatchNorm(dimension))
    return Chain(parts)
