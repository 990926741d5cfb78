"""Vector fields for tests, and what a Runge-Kutta step makes of a linear one."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from harness.bijections.continuous.vector_field import VectorField
from tests.networks import perturb

ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4}


def field(dimension: int = 3, *, size: float = 0.3, context: int = 0, seed: int = 0) -> VectorField:
    made = VectorField(dimension, 6, 2, torch.Generator().manual_seed(seed), context)
    perturb(made, seed, size)
    return made.double()


def last(f: VectorField) -> nn.Linear:
    return cast(nn.Linear, f.layers[-1])


def linear_field(matrix: Tensor) -> VectorField:
    """``f(t, x) = A x``."""
    made = VectorField(len(matrix), 1, 0, torch.Generator()).double()
    with torch.no_grad():
        last(made).weight[:, :-1] = matrix
    return made


def matrix(size: float = 0.5, dimension: int = 3) -> Tensor:
    source = torch.Generator().manual_seed(3)
    return size * torch.randn(dimension, dimension, generator=source, dtype=torch.float64)


def of_one_step(method: str, a: Tensor) -> Tensor:
    """``R(A)``: the Taylor polynomial of the exponential, to the order of the method."""
    orders = range(ORDERS[method] + 1)
    powers = [torch.linalg.matrix_power(a, k) / math.factorial(k) for k in orders]
    return torch.stack(powers).sum(0)
