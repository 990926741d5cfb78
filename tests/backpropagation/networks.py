"""Networks, losses and gradients for tests of backpropagation without activations."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harness import registry
from harness.backpropagation.rebuilding import MemorySaving, guarded, memory_saving
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.transformers.elementwise import Affine
from harness.seeding import generator
from tests.networks import perturb

WAYS: dict[str, Callable[[Bijection], MemorySaving]] = {
    "memory saving": memory_saving,
    "guarded": lambda flow: guarded(flow, every=3),
}
"""Every third layer: guards must see what is between."""


def affine(seed: int) -> Affine:
    return Affine(registry.build("scale_map", registry.resolve("scale_map", "sigmoid")))


def coupling(seed: int, dimension: int = 6, width: int = 8) -> Coupling:
    half = dimension // 2
    network = mlp(half, 2 * half, width, 1, generator(seed, "coupling"))
    return Coupling(half, affine(seed), network, swap=seed % 2 == 1)


def chain(depth: int = 4, dimension: int = 6, width: int = 8) -> Chain:
    """ActNorm, a linear layer and an affine coupling, so many times, in float64."""
    parts: list[Bijection] = []
    for number in range(depth):
        linear = LULinear(dimension, generator(number, "linear"))
        parts += [ActNorm(dimension), linear, coupling(number, dimension, width)]
    flow = Chain(parts).double()
    perturb(flow, 0)
    return flow


def loss(y: Tensor, log_det: Tensor) -> Tensor:
    """Of value and log-det, and different for every sample."""
    each = torch.linspace(1, 2, len(y), dtype=y.dtype)
    rows = y.flatten(1)
    return (each * (rows.square().sum(1) + rows.sin().sum(1) + log_det)).sum()


def gradients(
    flow: Bijection, x: Tensor, leaves: Sequence[Tensor], context: Tensor | None = None
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss(*flow(x, context)), leaves, materialize_grads=True)


def assert_alike(
    found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float = 1e-10
) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= tolerance * (1 + float(other.abs().max()))


class Forgetful(Bijection):
    """``y = e^s x`` whose inverse is wrong in one entry of some samples: by 2 %, or NaN.

    Args:
        wrong: What it is off by, relative to 1.
        sample: Of which sample; -1 of every one.
    """

    def __init__(self, wrong: float, sample: int = 0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
        self.wrong, self.sample = wrong, sample
        self.is_broken = True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.scale.exp(), self.scale * x[0].numel() * x.new_ones(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = y / self.scale.exp()
        if self.is_broken:
            off = torch.zeros_like(x)
            off[self.sample if self.sample >= 0 else slice(None), -1] = self.wrong
            x = x + off
        return x, -self.scale * x[0].numel() * x.new_ones(len(x))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(2.0, 2.0)
