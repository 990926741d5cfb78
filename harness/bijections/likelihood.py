"""What a bijection says of the density of its inputs, where its outputs are standard normal."""

import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection, sum_per_sample


def normal_log_density(z: Tensor) -> Tensor:
    """``log N(z; 0, I)`` in nats: ``(B, …) → (B,)``."""
    z = z.flatten(1)
    density: Tensor = -0.5 * sum_per_sample(z * z) - 0.5 * z.shape[1] * math.log(2 * math.pi)
    return density


def log_likelihood(flow: Bijection, x: Tensor) -> Tensor:
    """``log p(x) = log N(F(x); 0, I) + log |det J_F(x)|`` in nats, shape ``(B,)``."""
    z, log_det = flow(x)
    density: Tensor = normal_log_density(z) + log_det
    return density


@torch.no_grad()
def exact_log_likelihood(flow: Bijection, x: Tensor) -> Tensor:
    """Likewise without a gradient, its terms added up in float64 whatever the flow runs in.

    What it lacks is then what the network lost, and no sum of many squares in half precision.
    """
    z, log_det = flow(x)
    density: Tensor = normal_log_density(z.double()) + log_det.double()
    return density
