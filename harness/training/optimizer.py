"""The optimizer of a stack and its schedule."""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from harness.suite.model import Training
from harness.training.stack import Stack


class Optimizer:
    """Adam with decoupled weight decay (arXiv 1711.05101) for every network of a stack.

    Each network's parameters are one row, so a fused step is one kernel a row; rows of the same
    settings are one group. Without weight decay this is Adam.

    PyTorch's function rather than its class, which imports its compiler: two seconds of every
    worker's start.

    Args:
        stack: The networks.
        settings: One for each; learning rate and weight decay may differ.
    """

    def __init__(self, stack: Stack, settings: Sequence[Training]) -> None:
        moments = (torch.zeros_like(stack.parameters) for _ in range(2))
        steps = stack.parameters.new_zeros(stack.size, dtype=torch.float32)
        columns = (stack.parameters, stack.gradient, *moments, steps)
        self._rows = list(zip(*(column.unbind() for column in columns), strict=True))
        self._groups: dict[tuple[float, float], list[int]] = defaultdict(list)
        for number, one in enumerate(settings):
            self._groups[one.learning_rate, one.weight_decay].append(number)

    @torch.no_grad()
    def step(self, factor: float, without: Collection[int] = ()) -> None:
        """One step from the stack's gradient, at ``factor`` times the learning rates.

        Networks of the numbers ``without`` keep their parameters and moments.
        """
        for (rate, decay), group in self._groups.items():
            numbers = [number for number in group if number not in without]
            if not numbers:
                continue
            rows = zip(*(self._rows[number] for number in numbers), strict=True)
            parameters, gradients, first, second, steps = map(list, rows)
            adamw(
                parameters,
                gradients,
                first,
                second,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rate * factor,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )


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
