"""Bijections that are wrong, each in one way, and each in a chain with others that are right."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from harness.bijections.actnorm import ActNorm
from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling import Coupling
from harness.bijections.linear import LULinear
from harness.bijections.lipschitz_network import LipschitzNetwork
from harness.bijections.networks import (
    EVERYTHING,
    SILU_LIPSCHITZ,
    Conditioner,
    linear,
    mlp,
    norm,
)
from harness.bijections.reshape import Flatten
from harness.bijections.residual import Residual
from harness.bijections.scale_maps.sigmoids import BoundedSigmoid
from harness.bijections.transformers import Additive, Affine, Transformer
from harness.registry import Shape

Factory = Callable[[Shape, torch.Generator], Bijection]


def _coupling(generator: torch.Generator) -> Coupling:
    return Coupling(1, Additive(), mlp(1, 1, 8, 1, generator))


def _beside(make: Callable[[torch.Generator], Bijection]) -> Factory:
    def factory(shape: Shape, generator: torch.Generator) -> Bijection:
        return Chain([Flatten(shape), LULinear(2, generator), make(generator)])

    return factory


class WrongSign(ActNorm):
    def _log_det(self, x: Tensor, log_scale: Tensor) -> Tensor:
        return -super()._log_det(x, log_scale)


class Series(Residual):
    """``log |det(I + J)| = Σ (-1)^(k+1) tr(J^k) / k``, up to 12, less what is dropped."""

    def __init__(self, generator: torch.Generator, dropped: int) -> None:
        super().__init__(LipschitzNetwork(2, 8, 1, 0.1, generator))
        self.dropped = dropped

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        value, jacobian = self.network.value_and_jacobian(x)
        power, log_det = jacobian, torch.zeros_like(x[:, 0])
        for k in range(1, 13):
            trace = power.diagonal(dim1=1, dim2=2).sum(1)
            log_det = log_det + (k != self.dropped) * (-1) ** (k + 1) * trace / k
            power = power @ jacobian
        return x + value, log_det


class Drifting(Bijection):
    """``y = W x`` with W a rotation at the start, taken for one ever after."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(2, 2, generator=generator))
        self.weight = nn.Parameter(rotation)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x @ self.weight.T, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y @ self.weight, y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, 1.0)


class Loose(Residual):
    """Its fixed point ends at 1e-7, each sample for itself or the whole batch at once."""

    def __init__(self, generator: torch.Generator, *, together: bool) -> None:
        super().__init__(LipschitzNetwork(2, 8, 1, 0.5, generator))
        self.together = together

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        x, moving = y, torch.ones_like(y[:, :1], dtype=torch.bool)
        for _ in range(40):
            new = torch.where(moving, y - self.network(x), x)
            moving = (new - x).norm(dim=1, keepdim=True) > 1e-7
            if self.together:
                moving = moving.any().expand_as(moving)
            x = new
        return x, -self(x)[1], Convergence.closed_form(y)


class LostFlag(ActNorm):
    """Initialised by the first batch it sees, which only an attribute remembers."""

    initialized = False

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not self.initialized:
            self.initialized = True
            self.initialize(x)
        return super().forward(x)


class Remembering(Bijection):
    """``y = 2 x``, whose inverse puts in what the last forward pass took away."""

    last: Tensor | None = None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.last = x[:, 1:].detach()
        return 2 * x, x.new_full((len(x),), 2 * math.log(2))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = y / 2
        if self.last is not None and self.last.shape == x[:, 1:].shape:
            x = torch.cat([x[:, :1], self.last], dim=1)
        return x, y.new_full((len(y),), -2 * math.log(2))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(2.0, 0.5)


class Counting(ActNorm):
    """Counts its calls in a buffer."""

    calls: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().forward(x)


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

    return _beside(make)


class Cramped(LULinear):
    """The image of the box's ends alone: right only for weights that are not negative."""

    def image(self, box: Box) -> Box:
        return box.each(lambda x: x @ self.weight().detach().T)


class Branching(ActNorm):
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x if x.isnan().any() else 1.0 * x)


def _overclaiming(shape: Shape, generator: torch.Generator) -> Bijection:
    """Last of many: beside the product of all bounds its own falsehood is nothing."""
    others = [_coupling(generator) for _ in range(3)]
    wrong = Overclaiming(1, Additive(), mlp(1, 1, 8, 1, generator))
    mixing = [LULinear(2, generator) for _ in range(3)]
    pairs = [part for pair in zip(mixing, others, strict=True) for part in pair]
    return Chain([Flatten(shape), *pairs, wrong])


def right(shape: Shape, generator: torch.Generator) -> Bijection:
    """The same frame, and nothing wrong in it."""
    parts = [ActNorm(2), _coupling(generator), Series(generator, dropped=0)]
    return Chain([Flatten(shape), LULinear(2, generator), *parts])


FAULTS: dict[str, tuple[Factory, str, str]] = {
    "wrong sign of a log-det": (
        _beside(lambda _: WrongSign(2)),
        "log-det, forward",
        r"first in parts\.2 \(WrongSign\): .*its sign is wrong",
    ),
    "dropped coefficient": (
        _beside(lambda generator: Series(generator, dropped=3)),
        "log-det, forward",
        r"the block says .* its autograd Jacobian .* in parts\.2 \(Series\)",
    ),
    "orthogonal matrix that drifts": (
        _beside(Drifting),
        "round trip, F⁻¹(F(x)) = x",
        r"\(after 200 training steps\): what comes back is off by .* in parts\.2 \(Drifting\)",
    ),
    "loose tolerance": (
        _beside(lambda generator: Loose(generator, together=False)),
        "round trip, F⁻¹(F(x)) = x",
        r"what comes back is off by .* in parts\.2 \(Loose\)",
    ),
    "batch-dependent inverse": (
        _beside(lambda generator: Loose(generator, together=True)),
        "batch independence, inverse",
        r"beside .* the first sample's result differs .* in parts\.2 \(Loose\)",
    ),
    "flag lost on reload": (
        _beside(lambda _: LostFlag(2)),
        "state_dict round trip, in evaluation mode",
        r"numbers of the loaded network differ from the saved one's",
    ),
    "inverse that remembers": (
        _beside(lambda _: Remembering()),
        "two calls agree, inverse",
        r"after calls on other inputs, \d+ numbers differ",
    ),
    "buffer that counts": (
        _beside(lambda _: Counting(2)),
        "no call changes the state",
        r"a call changes parts\.2\.calls",
    ),
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
        )
        if kind is not Flat or on == ""  # of an affine one, scale and shift are never worst at once
    },
    "half of a contraction's bound": (
        _beside(lambda generator: Residual(HalvedContraction(2, 8, 2, 0.5, generator))),
        "bound, inverse, of each part",
        r"aligned weights\): 1/σ_min\(J\) is .* in parts\.2 \(Residual\)",
    ),
    "image that is too small": (
        lambda shape, generator: Chain([Flatten(shape), Cramped(2, generator)]),
        "image of a box",
        r"F\(x\) leaves it by .* in parts\.1 \(Cramped\)",
    ),
    "undeclared branch on data, forward": (
        _beside(lambda _: Branching(2)),
        "packs, forward",
        r"two networks cannot run as one, and branches=\('forward',\) is not declared",
    ),
    "undeclared branch on data, inverse": (
        _beside(lambda generator: Residual(LipschitzNetwork(2, 8, 1, 0.5, generator))),
        "packs, inverse",
        r"two networks cannot run as one, and branches=\('inverse',\) is not declared",
    ),
}
