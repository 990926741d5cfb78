"""What stands beside a planted fault, and is right."""

from collections.abc import Callable

import torch

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.linear import LULinear
from harness.bijections.shape.reshape import Flatten
from harness.bijections.transformers.elementwise import Additive
from harness.registry import Shape

Factory = Callable[[Shape, torch.Generator], Bijection]


def coupling(generator: torch.Generator) -> Coupling:
    """Additive, of two dimensions."""
    return Coupling(1, Additive(), mlp(1, 1, 8, 1, generator))


def beside(make: Callable[[torch.Generator], Bijection]) -> Factory:
    """A chain of two dimensions that ends with what is made."""

    def factory(shape: Shape, generator: torch.Generator) -> Bijection:
        return Chain([Flatten(shape), LULinear(2, generator), make(generator)])

    return factory
