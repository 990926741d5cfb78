"""Networks whose singular values are known at every input."""

import math

import torch

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.orthogonal import Householder
from harness.seeding import generator

DIMENSIONS = (8, 64, 784)
CONDITIONS = (1.0, 1e3, 1e6, 1e9)


def known_chain(dimension: int, condition: float, layers: int = 5, planted: int = 2) -> Chain:
    """Orthogonal maps but for the planted layer, which is diagonal: ``σ = 1 … 1 / condition``.

    Its scales lie evenly on a logarithmic axis, so the Jacobian has the same singular values
    everywhere. Each of the others is a product of ten Householder reflections.
    """
    source = generator(0, "known chain")
    parts: list[Bijection] = [Householder(dimension, source, reflections=10) for _ in range(layers)]
    norm = ActNorm(dimension)
    with torch.no_grad():
        norm.log_scale.copy_(-math.log(condition) * torch.linspace(0, 1, dimension))
        norm.bias.copy_(torch.randn(dimension, generator=source))
    parts[planted] = norm
    return Chain(parts)
