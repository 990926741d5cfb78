"""The frame that the coupling architectures for vectors share."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch

from harness.architectures.mixing import mixed
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.coupling.residual_mlp import ResidualMLP
from harness.bijections.coupling.splits import Alternating, Halves
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.batch_norm import BatchNorm
from harness.bijections.shape.reshape import Flatten
from harness.bijections.transformers.elementwise import Transformer
from harness.registry import Combination, Shape

SplitName = Literal["halves", "alternating"]
ConditionerName = Literal["mlp", "residual_mlp"]


def one_dimension(combination: Combination) -> str | None:
    """Why such a flow is impossible on this shape, or ``None``."""
    return _too_few(combination.architecture.name, math.prod(combination.shape))


def _too_few(name: str, dimension: int) -> str | None:
    if dimension >= 2:
        return None
    return f"{name} splits its input, so it needs at least 2 dimensions, not {dimension}"


def coupling_flow(
    shape: Shape,
    generator: torch.Generator,
    transformer: Transformer,
    *,
    couplings: int,
    width: int,
    layers: int,
    mixing: Mapping[str, Any],
    actnorm: bool,
    split: SplitName = "halves",
    conditioner: ConditionerName = "mlp",
    batch_norm: bool = False,
) -> Bijection:
    """Steps of [ActNorm,] mixing, coupling[, batch norm] over the flattened input.

    The kept part alternates.

    In two dimensions a permutation either does nothing or undoes the alternation, so a
    permutation is used from three dimensions on. A reversal that exchanges the parts is the
    alternation: with another, each coupling would keep what the one before it kept.

    Raises:
        ValueError: The input has fewer than two dimensions, so nothing can be split.
    """
    dimension = math.prod(shape)
    message = _too_few("a coupling", dimension)
    if message is not None:
        raise ValueError(message)
    parting = Halves(dimension // 2) if split == "halves" else Alternating()
    network = mlp if conditioner == "mlp" else ResidualMLP
    useless = mixing["name"] == "permutation" and dimension == 2
    exchanged = mixing["name"] == "reverse" and (split == "halves" or dimension % 2 == 0)
    parts: list[Bijection] = [Flatten(shape)]
    for number in range(couplings):
        if actnorm:
            parts.append(ActNorm(dimension))
        if not useless:
            parts += mixed(mixing, dimension, generator)
        swap = number % 2 == 1 and not exchanged
        kept, changed = (
            reversed(parting.channels(dimension)) if swap else parting.channels(dimension)
        )
        outputs = transformer.parameters_per_element * changed
        inner = network(kept, outputs, width, layers, generator)
        parts.append(Coupling(parting, transformer, inner, swap=swap))
        if batch_norm:
            parts.append(BatchNorm(dimension))
    return Chain(parts)
