"""The building blocks that arXiv 2006.09347 bounds (its table 1), built for the table of bounds."""

from collections.abc import Callable

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.continuous.neural_ode import NeuralODE
from harness.bijections.continuous.vector_field import VectorField
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.scaling import Scaling
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.bijections.shape.logit import Logit
from harness.bijections.shape.multiscale import MultiScale
from harness.bijections.shape.reshape import Squeeze
from harness.registry import Shape

Make = Callable[[torch.Generator], Bijection]
VECTOR, IMAGE = (4,), (4, 2, 2)
WIDTH = 8


def _coupling(generator: torch.Generator, **transformer: str) -> Bijection:
    elementwise = registry.build("transformer", registry.resolve("transformer", transformer))
    outputs = 2 * elementwise.parameters_per_element
    return Coupling(2, elementwise, mlp(2, outputs, WIDTH, 1, generator))


def _mixing(name: str) -> Make:
    choice = registry.resolve("mixing", name)
    return lambda generator: registry.build("mixing", choice, IMAGE[0], generator)


def blocks() -> dict[str, tuple[Make, Shape]]:
    """How to build each, and the shape of an input; 1×1 convolutions of each kind there is."""
    # Those in which nothing is learned are orthogonal by themselves.
    fixed = ("none", "permutation", "reverse")
    convolutions = [name for name in registry.names("mixing") if name not in fixed]
    return {
        "additive coupling": (lambda g: _coupling(g, name="additive"), VECTOR),
        "affine coupling, scale then shift": (
            lambda g: _coupling(g, name="affine", order="scale_first"),
            VECTOR,
        ),
        "affine coupling, shift then scale": (
            lambda g: _coupling(g, name="affine", order="shift_first"),
            VECTOR,
        ),
        "residual block": (
            lambda g: Residual(LipschitzNetwork(*VECTOR, WIDTH, 1, 0.9, g)),
            VECTOR,
        ),
        "neural ODE": (lambda g: NeuralODE(VectorField(*VECTOR, WIDTH, 1, g)), VECTOR),
        "diagonal scaling": (lambda g: Scaling(*VECTOR), VECTOR),
        "ActNorm": (lambda g: ActNorm(*VECTOR), VECTOR),
        **{f"1×1 convolution, {name}": (_mixing(name), IMAGE) for name in convolutions},
        "permutation": (_mixing("permutation"), IMAGE),
        "squeeze": (lambda g: Squeeze(), IMAGE),
        "multi-scale split": (
            lambda g: MultiScale([Squeeze(), ActNorm(8)], [(16, 1, 1), (8, 1, 1)]),
            IMAGE,
        ),
        "logit": (lambda g: Logit(), VECTOR),
    }
