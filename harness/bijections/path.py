"""The layers of a network, in the order in which an input meets them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.inverse import Inverse
from harness.bijections.scale_maps import ScaleMap
from harness.bijections.shape.factor_out import Beside, FactorOut
from harness.bijections.shape.multiscale import MultiScale
from harness.bijections.shape.reshape import Flatten


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        place: On the way from the input to the latent, counted from 0.
        block: What a reader calls it: :func:`block_name`.
        bijection: Acts on all that the layer before it gives.
    """

    place: int
    block: str
    bijection: Bijection


def layers(flow: Bijection) -> list[Layer]:
    """The layers whose composition, in order, is the network; they hold its own weights.

    Chains are taken apart, also within each other, and so are the levels of a multi-scale flow,
    whose later ones act beside what is already finished, and the inverse of any of these.
    Everything else is one layer. The shapes within a later level are found by a forward pass of
    one input; a network without such levels is not run.
    """
    return [Layer(place, block_name(one), one) for place, one in enumerate(_parts(flow))]


def has_inverse(block: Bijection) -> bool:
    """Whether a block has any of the two methods that it may have it by."""
    names = ("inverse", "inverse_with_convergence")
    return any(getattr(type(block), name) is not getattr(Bijection, name) for name in names)


def block_name(bijection: Bijection) -> str:
    """What a reader calls a block: its own ``block_name``, or its class and what it is made of.

    ``ActNorm``, ``Coupling: Affine, Sigmoid``, ``Inverse of MaskedAutoregressive: Additive``.
    """
    if bijection.block_name is not None:
        return bijection.block_name
    if isinstance(bijection, Beside):
        return block_name(bijection.bijection)
    if isinstance(bijection, Inverse):
        return f"Inverse of {block_name(bijection.bijection)}"
    transformer = getattr(bijection, "transformer", None)
    scale = getattr(bijection if transformer is None else transformer, "scale", None)
    # ``scale`` may also be a method or a tensor of a block that has no scale map.
    parts = [one for one in (transformer, scale) if isinstance(one, torch.nn.Module | ScaleMap)]
    made_of = ", ".join(type(one).__name__ for one in parts)
    name = type(bijection).__name__
    return f"{name}: {made_of}" if made_of else name


def _parts(flow: Bijection) -> list[Bijection]:
    if isinstance(flow, Chain):
        return [one for part in flow.parts for one in _parts(cast(Bijection, part))]
    if isinstance(flow, MultiScale):
        return _levels(flow)
    if isinstance(flow, Inverse):
        return _inverted(flow)
    return [flow]


def _inverted(flow: Inverse) -> list[Bijection]:
    inside = flow.bijection
    if isinstance(inside, Inverse):
        return _parts(inside.bijection)
    parts = _parts(inside)
    if len(parts) == 1 and parts[0] is inside:
        return [flow]
    try:
        return [one for part in reversed(parts) for one in _parts(Inverse(part))]
    except ValueError:  # a part that may not be run backwards by itself
        return [flow]


def _levels(flow: MultiScale) -> list[Bijection]:
    parts: list[Bijection] = []
    finished, last = 0, len(flow.levels) - 1
    for number, (level, shape) in enumerate(zip(flow.levels, flow.shapes, strict=True)):
        inside = _parts(cast(Bijection, level))
        if number < last:
            inside.append(FactorOut(shape))
        if number == 0:
            parts += inside
        else:
            channels, *size = flow.shapes[number - 1]
            parts += _beside(inside, finished, (channels // 2, *size))
        finished += math.prod(shape) // 2
    # A later level is flat already.
    return parts if last else [*parts, Flatten(flow.shapes[0])]


@torch.no_grad()
def _beside(parts: Sequence[Bijection], finished: int, shape: Sequence[int]) -> list[Bijection]:
    wrapped: list[Bijection] = []
    x = _like(parts).new_zeros(1, *shape)
    for part in parts:
        y, _ = part(x)
        wrapped.append(Beside(part, finished, x.shape[1:], y.shape[1:]))
        x = y
    return wrapped


def _like(parts: Sequence[Bijection]) -> Tensor:
    """A tensor of the dtype and on the device that the parts compute with."""
    for part in parts:
        for tensor in (*part.parameters(), *part.buffers()):
            if tensor.is_floating_point():
                return tensor
    return torch.empty(0)
