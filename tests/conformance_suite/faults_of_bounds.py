"""Bijections whose bounds are wrong, each in one way."""

from itertools import pairwise
from typing import cast

import torch
from torch import nn

from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import (
    EVERYTHING,
    SILU_LIPSCHITZ,
    Conditioner,
    linear,
    mlp,
    norm,
)
from harness.bijections.inverse import Inverse
from harness.bijections.linear.linear import LULinear
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.bijections.scale_maps.exponentials import Exponential
from harness.bijections.scale_maps.sigmoids import BoundedSigmoid
from harness.bijections.shape.reshape import Flatten
from harness.bijections.transformers.elementwise import Additive, Affine, Transformer
from harness.registry import Shape
from tests.conformance_suite.frame import Factory, beside, coupling


class Overclaiming(Coupling):
    """Forgets that the identity is there beside the shift."""

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        limit = self.conditioner.lipschitz()  # type: ignore[operator]
        return BiLipschitz(max(1.0, limit), max(1.0, limit))


class Halved(Conditioner):
    """Says half of its bound: nothing is that near to a product of norms, as a rule."""

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        return super().lipschitz(outputs) / 2


class HalvedContraction(LipschitzNetwork):
    def lipschitz(self) -> float:
        return super().lipschitz() / 2


class Forgetful(Conditioner):
    """Leaves out the norm of one layer."""

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        return super().lipschitz(outputs) / norm(cast(nn.Linear, self.layers[1]))


class Flat(Conditioner):
    """Takes the activation for one of slope 1."""

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        return super().lipschitz(outputs) / SILU_LIPSCHITZ ** (len(self.layers) - 1)


def _loosely(kind: type[Conditioner], transformer: Transformer) -> Factory:
    """A coupling with that conditioner, which has a hidden layer more than is needed."""

    def make(generator: torch.Generator) -> Bijection:
        outputs = transformer.parameters_per_element
        layers = [linear(a, b, generator) for a, b in pairwise((1, 8, 8, outputs))]
        return Coupling(1, transformer, kind(layers))

    return beside(make)


class Cramped(LULinear):
    """The image of the box's ends alone: right only for weights that are not negative."""

    def image(self, box: Box) -> Box:
        return box.each(lambda x: x @ self.weight().detach().T)


class HalvedMasked(MaskedNetwork):
    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        return super().lipschitz(outputs) / 2


def _inverse(generator: torch.Generator) -> Bijection:
    """No forward pass calls the block's own forward pass."""
    return Inverse(MaskedAutoregressive(HalvedMasked(2, 1, 8, 2, generator), Additive()))


def _overclaiming(shape: Shape, generator: torch.Generator) -> Bijection:
    """Last of many: beside the product of all bounds its own falsehood is nothing."""
    others = [coupling(generator) for _ in range(3)]
    wrong = Overclaiming(1, Additive(), mlp(1, 1, 8, 1, generator))
    mixing = [LULinear(2, generator) for _ in range(3)]
    pairs = [part for pair in zip(mixing, others, strict=True) for part in pair]
    return Chain([Flatten(shape), *pairs, wrong])


FAULTS_OF_BOUNDS: dict[str, tuple[Factory, str, str]] = {
    "bound that does not hold": (
        _overclaiming,
        "bound, forward, of each part",
        r"σ_max\(J\) is .* claims at most .*, in parts\.7 \(Overclaiming\)",
    ),
    **{
        f"{what}, {name}": (
            _loosely(kind, transformer),
            f"bound{on}, forward, of each part",
            rf"\({which} aligned weights\): σ_max\(J\) is .* in parts\.2 \(Coupling\)",
        )
        for what, kind, which in (
            ("half of a Lipschitz bound", Halved, "(small|large)"),
            ("a layer's norm left out of a bound", Forgetful, "large"),
            ("an activation's slope left out of a bound", Flat, "small"),
        )
        for name, transformer, on in (
            ("additive", Additive(), ""),
            ("affine", Affine(BoundedSigmoid(0.5)), " on a box"),
            ("affine by exp", Affine(Exponential()), " on a box"),
        )
        if kind is not Flat or on == ""  # of an affine one, scale and shift are never worst at once
    },
    "half of a contraction's bound": (
        beside(lambda generator: Residual(HalvedContraction(2, 8, 2, 0.5, generator))),
        "bound, inverse, of each part",
        r"aligned weights\): 1/σ_min\(J\) is .* in parts\.2 \(Residual\)",
    ),
    "image that is too small": (
        lambda shape, generator: Chain([Flatten(shape), Cramped(2, generator)]),
        "image of a box",
        r"F\(x\) leaves it by .* in parts\.1 \(Cramped\)",
    ),
    "half of a bound within an inverse": (
        beside(_inverse),
        "bound, forward, of each part",
        r"aligned weights\): σ_max\(J\) is .* in parts\.2 \(Inverse\)",
    ),
}
