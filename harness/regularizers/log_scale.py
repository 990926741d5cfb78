"""Penalty on the log-scale of affine couplings."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.bijections.base import Bijection, sum_per_sample
from harness.bijections.transformers.elementwise import Affine
from harness.registry import Combination, entry
from harness.regularizers.base import Regularizer
from harness.regularizers.network import ask


@dataclass(frozen=True)
class LogScale:
    """See :func:`log_scale`."""

    weight: float
    every: int

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Nothing is random."""
        return ()

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """``mean_b Σ_couplings Σ_i (log g(h_i))²`` along the path of x."""
        total = x.new_zeros(x.shape[0])

        def add(module: nn.Module, given: Any, output: tuple[Tensor, Tensor]) -> None:
            nonlocal total
            total = total + sum_per_sample(output[1] ** 2)

        scales = [module for module in flow.modules() if isinstance(module, Affine)]
        hooks = [module.register_forward_hook(add) for module in scales]
        try:
            flow(x)
        finally:
            for hook in hooks:
                hook.remove()
        return total.mean()


def _has_scale(flow: nn.Module) -> bool:
    return any(isinstance(module, Affine) for module in flow.modules())


def _refuses(combination: Combination) -> str | None:
    if ask(_has_scale, combination) is not False:
        return None
    name = combination.architecture.name
    return f"log_scale has nothing to penalise: {name} has no affine coupling with these parameters"


@entry(version=1, refuses=_refuses, needs_graph=True)
def log_scale(
    *,
    weight: Annotated[float, Field(ge=0)] = 1e-3,
    every: Annotated[int, Field(ge=1)] = 1,
) -> Regularizer:
    """Squared log-scale of every affine coupling: keeps g near 1 on the data.

    What it bounds is local: off the data the scale may still vanish. Cost of a step with it, beside
    the loss's three passes: a pass there, and backward through it.
    """
    return LogScale(weight, every)
