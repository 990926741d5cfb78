"""Random directions, and products with a network's Jacobian along them."""

from collections.abc import Callable

import torch
from torch import Tensor


def unit_directions(like: Tensor, generator: torch.Generator) -> Tensor:
    """Directions of length 1, one for each sample, uniform on the sphere.

    Normalised over a sample's own dimensions: the paper's code normalises over the batch, so its
    step depends on the batch size.
    """
    v = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    length = v.flatten(1).norm(dim=1).reshape(-1, *[1] * (v.ndim - 1))
    directions: Tensor = (v / length).to(like.device, like.dtype)
    return directions


def pulled_back(function: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> Tensor:
    """``Jᵀ u`` of a function at x, which can be differentiated once more.

    ``E ‖Jᵀ u‖² = ‖J‖_F² / D`` for u uniform on the sphere, as ``E ‖J v‖²``. Cost: two passes.
    """
    y, pull, *_ = torch.func.vjp(function, x)
    product: Tensor = pull(u.reshape(y.shape))[0]
    return product
