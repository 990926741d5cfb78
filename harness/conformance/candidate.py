"""What is put through the checks."""

from collections.abc import Callable
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
    """

    name: str
    shape: Shape
    build: Callable[[torch.Generator], Bijection]
    branches: tuple[Direction, ...] = ()

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
