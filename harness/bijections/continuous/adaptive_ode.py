"""The flow of a neural ODE, by steps whose size each sample chooses."""

import math

import torch
from torch import Tensor

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.continuous.flow_log_determinant import FlowLogDeterminant
from harness.bijections.continuous.neural_ode import Grid, NeuralODE, inverted, power
from harness.bijections.continuous.runge_kutta import (
    DOPRI5,
    DOPRI5_ERROR,
    Time,
    growth,
    slopes,
    weighted,
)
from harness.bijections.continuous.vector_field import VectorField

COARSEST, FINEST = 2, 16
"""Steps are of sizes ``2^-2`` to ``2^-16``."""


class AdaptiveODE(NeuralODE):
    """A neural ODE by Dormand and Prince's method, with the error of each step below a tolerance.

    A step is taken where the root mean square of its estimated error over
    ``tolerance · (1 + max(|x|, |x'|))`` is at most 1, and else halved; after steps of less than
    1/128 of it the next may be twice as long. Every sample has its own times and steps, which are
    powers of two: the batch goes on together, and no sample sees another. (torchdiffeq takes one
    step for a batch, by its mean error.) The steps are found without a gradient, then taken: the
    map is smooth but for jumps, smaller than its error, where the choice of steps changes, and
    between them its derivative is exact. A sample that needs smaller steps, or too many, is NaN.
    The error is that of x: an integrated trace has the same steps, and no tolerance of its own.

    Args:
        field: f.
        tolerance: Relative and absolute, in (0, 1).
        maximum_steps: Tried in all, rejected ones too.
        corrections: Of the inverse, as in :class:`NeuralODE`.
        in_training: The log-det, likewise.
        in_evaluation: Likewise.

    Raises:
        ValueError: A tolerance not in (0, 1), or no steps.
    """

    branches = True

    def __init__(
        self,
        field: VectorField,
        tolerance: float = 1e-4,
        maximum_steps: int = 1000,
        *,
        corrections: int = 0,
        in_training: FlowLogDeterminant | None = None,
        in_evaluation: FlowLogDeterminant | None = None,
    ) -> None:
        super().__init__(
            field,
            steps=maximum_steps,
            corrections=corrections,
            in_training=in_training,
            in_evaluation=in_evaluation,
        )
        if not 0 < tolerance < 1:
            message = f"adaptive neural ODE: tolerance must be in (0, 1), not {tolerance}"
            raise ValueError(message)
        self.method, self.tolerance = DOPRI5, tolerance

    @torch.no_grad()
    def _grid(self, x: Tensor, context: Tensor | None, *, back: bool) -> Grid:
        """Zeros fill up the steps of a sample that needs fewer; NaN is of one that gave up."""
        sign, time = (-1.0, x.new_ones(len(x))) if back else (1.0, x.new_zeros(len(x)))
        level = torch.full_like(time, COARSEST, dtype=torch.int64)
        tried, taken = torch.zeros_like(level), torch.zeros_like(level)
        sizes = x.new_zeros(64, len(x))
        left = torch.ones_like(time)
        for _ in range(self.steps):
            moving = (left > 0) & (level <= FINEST)
            if not moving.any():
                break
            size = torch.where(moving, 0.5**level, 0).to(x.dtype)
            change, error = self._tried(time, sign * size, x, context)
            scale = self.tolerance * (1 + torch.maximum(x.abs(), (x + change).abs()))
            share = (error / scale).square().mean(1).sqrt()
            accepted = moving & (share <= 1)  # a NaN is not
            if int(taken.max()) == len(sizes):
                sizes = torch.cat([sizes, torch.zeros_like(sizes)])
            sizes.scatter_(0, taken.unsqueeze(0), torch.where(accepted, sign * size, 0)[None])
            tried, taken = tried + moving, taken + accepted
            x = torch.where(accepted.unsqueeze(1), x + change, x)
            left = torch.where(accepted, left - size, left)
            time = torch.where(accepted, time + sign * size, time)
            # A longer step starts at a multiple of its size, and so it never goes too far.
            aligned = (left / (2 * size)).frac() == 0
            longer = accepted & (share < 1 / 128) & aligned & (level > COARSEST)
            level = level + (moving & ~accepted).long() - longer.long()
        sizes[0] = torch.where(left > 0, torch.nan, sizes[0])
        grid: list[tuple[Time, Time]] = []
        time = torch.full_like(time, 1.0 if back else 0.0)
        for size in sizes[: max(1, int(taken.max()) if len(x) else 1)]:
            grid.append((time, size))
            time = time + size
        return grid, tried

    def _tried(
        self, time: Tensor, size: Tensor, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What a step adds, and the estimate of its error."""

        def derivative(time: Time, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (self.field(time, state[0], context),)

        found = slopes(DOPRI5_ERROR, derivative, time, size, (x,))
        (change,) = weighted(size, DOPRI5.weights, found[:-1])
        (error,) = weighted(size, DOPRI5_ERROR.weights, found)
        return change, error

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """Of the Jacobian on a box, where the steps stay as they are; none everywhere.

        A map with jumps has no Lipschitz constant, however small they are. Its Jacobian has the
        bounds ``Π p(h_i L)`` and ``Π 1 / (2 - p(h_i L))`` of :class:`NeuralODE`, over steps with
        ``Σ h_i = 1``: at most those of the sizes for which ``p(hL)^(1/h)``, or the other, is
        largest.
        """
        if box is None:
            return BiLipschitz(math.inf, math.inf)
        lipschitz, forward, inverse = self.field.lipschitz(), 0.0, 0.0
        for level in range(COARSEST, FINEST + 1):
            each = growth(self.method, lipschitz / 2**level)
            forward = max(forward, power(each, 2**level))
            inverse = max(inverse, power(inverted(2 - each), 2**level))
        return BiLipschitz(forward, inverse)

    def image(self, box: Box) -> Box | None:
        """None: what is known of its derivative says nothing of its jumps."""
        return None
