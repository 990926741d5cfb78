"""Random directions, and products with a network's Jacobian along them."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.transformers.elementwise import Transformer
from harness.registry import Choice, Combination, Shape


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


@functools.lru_cache(maxsize=256)
def _has_second_derivatives(architecture: str, shape: Shape) -> bool:
    choice = Choice.model_validate_json(architecture)
    flow = registry.build("architecture", choice, shape, torch.Generator())
    return not any(
        (isinstance(module, Bijection) and module.first_derivatives_only)
        or (isinstance(module, Transformer) and not module.closed_form)
        for module in flow.modules()
    )


def refuses_iterations(combination: Combination) -> str | None:
    """Why a penalty cannot differentiate the inverse twice; ``None`` where it can."""
    choice = combination.architecture
    architecture = registry.get("architecture", choice.name)
    if architecture.refuses is not None and architecture.refuses(combination) is not None:
        return None  # it has said so itself
    if _has_second_derivatives(choice.model_dump_json(), combination.shape):
        return None
    return (
        f"{combination.regularizer.name} differentiates the inverse twice, and that of "
        f"{choice.name} iterates and has first derivatives only; take finite_difference"
    )
