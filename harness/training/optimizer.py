"""The optimizer of a stack and its schedule."""

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.suite.model import Training
from harness.training.stack import Stack


class Optimizer:
    """Adam with decoupled weight decay (arXiv 1711.05101) for every network of a stack.

    Each network's parameters are one row, so a fused step is one kernel a row; rows of the same
    settings are one group. A frozen row keeps its parameters and moments. Without weight decay
    this is Adam.

    Args:
        stack: The networks.
        settings: One for each; learning rate and weight decay may differ.
    """

    def __init__(self, stack: Stack, settings: Sequence[Training]) -> None:
        self._rows = [nn.Parameter(row) for row in stack.parameters]
        for row, gradient in zip(self._rows, stack.gradient, strict=True):
            row.grad = gradient
        groups = defaultdict(list)
        for row, one in zip(self._rows, settings, strict=True):
            groups[one.learning_rate, one.weight_decay].append(row)
        self._adam = torch.optim.AdamW(
            [
                {"params": rows, "lr": rate, "weight_decay": decay, "base": rate}
                for (rate, decay), rows in groups.items()
            ],
            fused=True,
        )

    def step(self, factor: float) -> None:
        """One step from the stack's gradient, at ``factor`` times the learning rates."""
        for group in self._adam.param_groups:
            group["lr"] = group["base"] * factor
        self._adam.step()

    def freeze(self, member: int) -> None:
        """Take no more steps for this network."""
        self._rows[member].grad = None


@torch.no_grad()
def norms(gradient: Tensor) -> Tensor:
    """ℓ2 norms of the rows of ``(S, P)``, shape ``(S,)``; inf or NaN where a row is not finite."""
    found: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    if found.isinf().any():  # perhaps only the square of a large but finite float32
        found = torch.linalg.vector_norm(gradient, dim=1, dtype=torch.float64)
    return found


@torch.no_grad()
def clip(gradient: Tensor, norms: Sequence[float], largest: Sequence[float]) -> None:
    """Scale rows of ``(S, P)``, in place, to a norm of at most ``largest``.

    A row whose norm is not finite is left as it is.
    """
    factors = [
        most / norm if most < norm < math.inf else 1.0
        for norm, most in zip(norms, largest, strict=True)
    ]
    if any(factor != 1 for factor in factors):
        gradient.mul_(gradient.new_tensor(factors).unsqueeze(1))


def schedule_factor(settings: Training, step: int) -> float:
    """What a step multiplies the learning rate by: 1, or ``½ (1 + cos(π · step / steps))``."""
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * step / settings.steps))
