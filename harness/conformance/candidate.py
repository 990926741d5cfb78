"""What is put through the checks."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection
from harness.registry import Shape
from harness.registry.entry import Direction
from harness.seeding import generator


@dataclass(frozen=True)
class Candidate:
    """A factory of bijections.

    Attributes:
        name: How it is called.
        shape: Of one input.
        build: Makes a network, its weights drawn from the generator.
        branches: Directions that it declares to branch on data.
        learns_inverse: Whether it declares that its inverse is learned, and so only approximate.
    """

    name: str
    shape: Shape
    build: Callable[[torch.Generator], Bijection]
    branches: tuple[Direction, ...] = ()
    learns_inverse: bool = False

    def fresh(self, seed: int = 0) -> Bijection:
        """A network as it is built, in float64 and evaluation mode; its weights are float32's."""
        return self.build(generator(seed, "conformance")).double().eval()

    def perturbed(self, seed: int = 0, factor: float = 1.0) -> Bijection:
        """A network whose weights are away from any zero start, and then ``factor`` times that."""
        flow = self.fresh(seed)
        perturb(flow, seed)
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.mul_(factor)
        return flow

    def aligned(self, size: float, offset: float, seed: int = 0) -> Bijection:
        """A network in which a product of norms loses nothing, see :func:`align`."""
        flow = self.perturbed(seed)
        align(flow, size, offset)
        return flow

    def inputs(self, count: int, scale: float = 1.0, seed: int = 0) -> Tensor:
        """Gaussian inputs, float64."""
        source = generator(seed, "conformance inputs")
        return scale * torch.randn(count, *self.shape, generator=source, dtype=torch.float64)


def perturb(module: nn.Module, seed: int, size: float = 0.1) -> None:
    """Move every parameter by Gaussian noise, so that no zero start hides a mistake."""
    source = generator(seed, "perturbation")
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
            parameter.add_(noise.to(parameter.dtype), alpha=size)


@torch.no_grad()
def align(module: nn.Module, size: float, offset: float) -> None:
    """Give all linear layers and convolutions one direction and one norm, and biases alike.

    ``W = size · 1 1ᵀ / ‖1 1ᵀ‖``, of a convolution at its central tap: then ``‖W₂ W₁‖ = ‖W₂‖ ‖W₁‖``,
    where those of other weights are several times apart. With an offset that outweighs what the
    layers put out every unit is at the same point of its activation, and its slope there is all
    that a bound's factor for the activation can lose.

    Args:
        module: Changed in place; what has a weight of two or more dimensions and a bias.
        size: The norm, with its sign.
        offset: Every bias.
    """
    for weight, bias in aligned_layers(module):
        entry = size / math.sqrt(weight.shape[0] * weight.shape[1])
        weight.zero_()
        central = weight.detach()
        for taps in weight.shape[2:]:
            central = central.select(2, taps // 2)
        central.fill_(entry)
        bias.fill_(offset)


def aligned_layers(module: nn.Module) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """Weight and bias of each layer that :func:`align` changes."""
    for layer in module.modules():
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if not (isinstance(weight, nn.Parameter) and isinstance(bias, nn.Parameter)):
            continue
        if weight.ndim >= 2:
            yield weight, bias
