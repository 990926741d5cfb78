"""The flow of a neural ODE, by a solver of fixed steps."""

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.continuous.flow_log_determinant import FlowLogDeterminant, OfSteps
from harness.bijections.continuous.runge_kutta import METHODS, State, Time, growth, step
from harness.bijections.continuous.vector_field import VectorField

Grid = tuple[list[tuple[Time, Time]], int | Tensor]


class Path(NamedTuple):
    """An integration from one end of the time to the other.

    Attributes:
        end: Where it ends, ``(B, D)``.
        carried: What each step carried for the log-det.
        steps: How many it took, of all samples or of each, ``(B,)``.
    """

    end: Tensor
    carried: list[Tensor]
    steps: int | Tensor


class NeuralODE(Bijection):
    """``y = x(1)`` with ``x' = f(t, x)``, ``x(0) = x``, by N Runge-Kutta steps (arXiv 1806.07366).

    The inverse integrates back from ``x(1) = y``. It is the flow's inverse, to within the error
    of the solver, and not that of the map which the solver makes: so it reports by how much the
    two miss, as measured by integrating forth and back once more. A correction takes what was
    missed away, ``x ← x + G(y) - G(F(x))`` with G the way back; the error shrinks each time by as
    much as one way back leaves of it.

    Args:
        field: f.
        method: Name of a method, see :data:`~harness.bijections.continuous.runge_kutta.METHODS`.
        steps: N.
        corrections: Of the inverse; 0 is the way back alone, the neural ODE of the literature.
        in_training: The log-det while the block trains; that of the steps if left out.
        in_evaluation: The log-det otherwise, likewise. The way back has its own log-det, and a
            corrected inverse that of the map.

    Attributes:
        branches: Whether it may look at values, and so correct no longer than it must.

    Raises:
        ValueError: An unknown method, no steps, or fewer than no corrections.
    """

    branches = False

    def __init__(
        self,
        field: VectorField,
        method: str = "rk4",
        steps: int = 8,
        *,
        corrections: int = 0,
        in_training: FlowLogDeterminant | None = None,
        in_evaluation: FlowLogDeterminant | None = None,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            message = f"neural ODE: method must be one of {', '.join(METHODS)}, not {method}"
            raise ValueError(message)
        if steps < 1:
            raise ValueError(f"neural ODE: steps must be at least 1, not {steps}")
        if corrections < 0:
            raise ValueError(f"neural ODE: corrections must not be negative, not {corrections}")
        self.field, self.method, self.steps = field, METHODS[method], steps
        self.corrections = corrections
        self.first_derivatives_only = corrections > 0
        self.in_training, self.in_evaluation = in_training or OfSteps(), in_evaluation or OfSteps()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._flow(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.corrections:
            return self.inverse_with_convergence(y, context)[:2]
        return self._flow(y, context, back=True)  # and no report, which costs as much twice more

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        if not self.corrections:
            back = self._integrated(y, context, self.log_determinant, back=True)
            log_det = self.log_determinant.total(back.carried)
            return back.end, log_det, self._corrected(back, y, context)[1]
        with torch.no_grad():
            back = self._integrated(y, context, back=True)
        x, report = self._corrected(back, y, context)
        if torch.is_grad_enabled():
            # Implicit function theorem: x moves by J⁻¹ (dy - dF). The residual y - F(x) carries
            # that derivative; its value is taken out. First derivatives only.
            there = self._integrated(x, context, OfSteps())
            jacobian = OfSteps.jacobian(there.carried).detach()
            # Without a check for errors: a singular matrix has no derivative, and goes on.
            solved = torch.linalg.solve_ex(jacobian, (y - there.end).unsqueeze(-1)).result
            x = x + (solved - solved.detach()).squeeze(-1)
        _, log_det = self._flow(x, context)
        return x, -log_det, report

    @property
    def log_determinant(self) -> FlowLogDeterminant:
        """What computes the log-det at present."""
        return self.in_training if self.training else self.in_evaluation

    def _flow(
        self, x: Tensor, context: Tensor | None, *, back: bool = False
    ) -> tuple[Tensor, Tensor]:
        path = self._integrated(x, context, self.log_determinant, back=back)
        return path.end, self.log_determinant.total(path.carried)

    def _integrated(
        self,
        x: Tensor,
        context: Tensor | None,
        log_determinant: FlowLogDeterminant | None = None,
        *,
        back: bool = False,
    ) -> Path:
        """To ``x(1)``, or to ``x(0)`` on the way back."""

        def derivative(time: Time, state: State) -> State:
            if log_determinant is None:
                return (self.field(time, state[0], context),)
            value, tangent = self.field.linearize(time, state[0], context)
            return value, log_determinant.rate(tangent, state[0], state[1])

        self.field.check("neural ODE", x)
        carried: list[Tensor] = []
        grid, steps = self._grid(x, context, back=back)
        for time, size in grid:
            start = () if log_determinant is None else (log_determinant.start(x),)
            x, *end = step(self.method, derivative, time, size, (x, *start))
            carried += end
        return Path(x, carried, steps)

    def _grid(self, x: Tensor, context: Tensor | None, *, back: bool) -> Grid:
        """When each step starts and how far it goes; and how many steps that took."""
        size = 1 / self.steps
        if back:
            return [(1 - number * size, -size) for number in range(self.steps)], self.steps
        return [(number * size, size) for number in range(self.steps)], self.steps

    @torch.no_grad()
    def _corrected(
        self, back: Path, y: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Convergence]:
        """The best x that the corrections find from G(y), and how far it may be off.

        The residual is that of x, ``‖G(F(x)) - G(y)‖`` over ``‖x‖ + ‖y‖``. It has converged where
        that is rounding, or where ``F(x) - y`` is: then the condition of F makes the rest of it.
        A way back that contracts, or folds, takes all points to nearly one: where ``F(x)`` and y
        are not half of the digits near each other, the residual is no less than what they miss.
        """
        x = best = guess = back.end.detach()
        residual = torch.full_like(y[:, 0], torch.inf)
        converged = torch.zeros_like(residual, dtype=torch.bool)
        iterations = torch.zeros_like(residual, dtype=torch.int64) + back.steps
        for left in range(self.corrections, -1, -1):
            there = self._integrated(x, context)
            again = self._integrated(there.end, context, back=True)
            size = _norm(x) + _norm(y)
            missed = _relative(there.end - y, size)
            eps = torch.finfo(y.dtype).eps
            off = _relative(again.end - guess, size)
            off = torch.where(missed <= eps**0.5, off, torch.maximum(off, missed))
            iterations = iterations + torch.where(converged, 0, there.steps + again.steps)
            # A correction that is not a number, or no better, is not taken.
            better = ~converged & ((off < residual) | (residual == torch.inf))
            best = torch.where(better.unsqueeze(1), x, best)
            residual = torch.where(better, off, residual)
            tolerance = (16 + there.steps) * eps
            converged = converged | (better & ((off <= tolerance) | (missed <= tolerance)))
            if self.branches and bool(converged.all()):
                break
            if left:
                x = best - torch.where(better.unsqueeze(1), again.end - guess, 0)
        return best, Convergence(iterations, residual, converged)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``p(L/N)^N`` and ``(2 - p(L/N))^-N`` of the map that the solver makes, L = Lip(f).

        A step is ``x + g(x)`` with ``Lip(g) ≤ p(L/N) - 1`` (:func:`growth`), a residual block: it
        is invertible where that is below 1, for ``L/N < 0.69`` of rk4, and else has no bound.
        With many steps both become ``exp(L)``, the bounds of the flow itself by Grönwall's
        inequality, ``exp(∫ Lip(f) dt)`` both ways.
        """
        each = growth(self.method, self.field.lipschitz() / self.steps)
        return BiLipschitz(power(each, self.steps), power(inverted(2 - each), self.steps))

    @torch.no_grad()
    def image(self, box: Box) -> Box | None:
        """``F(x)`` lies within ``r + (Lip - 1) ‖r‖₂`` of ``F(m)``, for centre m and radius r."""
        if self.field.context:
            return None  # F(m) depends on it
        centre, radius = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
        flow = copy.deepcopy(self).double()
        middle = flow(centre.unsqueeze(0))[0].squeeze(0)
        spread = radius + (self.bounds().forward - 1) * torch.linalg.vector_norm(radius)
        return Box(middle - spread, middle + spread)


def inverted(least: float) -> float:
    """``1 / least``; inf where that bounds nothing."""
    return 1 / least if least > 0 else math.inf


def power(base: float, exponent: int) -> float:
    """As ``**``, which raises an error where the result is too large."""
    logarithm = exponent * math.log(base) if base < math.inf else math.inf
    return base**exponent if logarithm < 709 else math.inf


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=1)
    return norm


def _relative(x: Tensor, size: Tensor) -> Tensor:
    step = _norm(x)
    return torch.where(step == 0, step, step / size)
