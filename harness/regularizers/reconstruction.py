"""Reconstruction error as a training term."""

import functools
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, sum_per_sample
from harness.bijections.free_form import FreeForm
from harness.registry import Choice, Combination, Shape, entry
from harness.regularizers.base import Regularizer


@dataclass(frozen=True)
class Reconstruction:
    """See :func:`reconstruction`."""

    weight: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``mean_b ‖F⁻¹(F(x)) - x‖²``; the gradient flows through both."""
        back, _ = flow.inverse(flow(x)[0])
        return sum_per_sample((back - x) ** 2).mean()


@functools.lru_cache(maxsize=256)
def _learns_its_inverse(architecture: str, shape: Shape) -> bool:
    choice = Choice.model_validate_json(architecture)
    flow = registry.build("architecture", choice, shape, torch.Generator())
    return any(isinstance(module, FreeForm) for module in flow.modules())


def _refuses(combination: Combination) -> str | None:
    architecture = registry.get("architecture", combination.architecture.name)
    if architecture.refuses is not None and architecture.refuses(combination) is not None:
        return None  # it has said so itself
    if _learns_its_inverse(combination.architecture.model_dump_json(), combination.shape):
        return None
    name = combination.architecture.name
    return f"reconstruction has nothing to train: the inverse of {name} is no network of its own"


@entry(version=1, refuses=_refuses, uses=("forward", "inverse"))
def reconstruction(
    *,
    weight: Annotated[float, Field(gt=0)] = 100.0,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Squared reconstruction error: trains an inverse that is learned (free-form flows).

    ``E ‖F⁻¹(F(x)) - x‖²``, arXiv 2310.16624. Too small a weight, and the flow folds: its likelihood
    then adds up to more than 1. Where the inverse is F's own, by a formula or by iteration, the
    error is rounding and teaches nothing.
    """
    return Reconstruction(weight, every)
