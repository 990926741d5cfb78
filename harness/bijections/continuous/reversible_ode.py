"""A neural ODE whose solver is inverted by algebra."""

import copy
import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.continuous.runge_kutta import METHODS, growth, increment
from harness.bijections.continuous.vector_field import VectorField


class ReversibleODE(Bijection):
    """The coupled pair of McCallum and Foster (arXiv 2410.11648), N steps of size ``h = 1/N``.

    ``y' = λ y + (1 - λ) z + Ψ_h(t, z)`` and ``z' = z - Ψ_-h(t + h, y')``, where ``Ψ_h(t, z)`` is
    what a Runge-Kutta step of ``z' = f(t, z)`` adds to z. Each line is undone by algebra, so the
    inverse is exact to rounding, however coarse the steps: it divides by λ a step, and so
    amplifies rounding by up to ``λ^-N``.

    In the paper z starts as a copy of y, and both follow the flow of f to within the error of
    the method. A bijection of D dimensions has no room for a copy: here the input is the pair,
    of two halves, and f has D/2 dimensions. The log-det is that of the map of the pair, exactly:
    each line is triangular, so it is ``N D/2 log λ`` whatever f is. The integral of the trace of
    f's Jacobian would be that of a flow which this map does not follow.

    Args:
        field: f, of D/2 dimensions.
        method: Name of a method, see :data:`~harness.bijections.continuous.runge_kutta.METHODS`.
        steps: N.
        coupling: λ, in (0, 1].

    Raises:
        ValueError: An unknown method, no steps, or λ not in (0, 1].
    """

    def __init__(
        self, field: VectorField, method: str = "rk4", steps: int = 4, coupling: float = 0.99
    ) -> None:
        super().__init__()
        if method not in METHODS:
            message = f"reversible ODE: method must be one of {', '.join(METHODS)}, not {method}"
            raise ValueError(message)
        if steps < 1:
            raise ValueError(f"reversible ODE: steps must be at least 1, not {steps}")
        if not 0 < coupling <= 1:
            raise ValueError(f"reversible ODE: coupling must be in (0, 1], not {coupling}")
        self.field, self.method, self.steps = field, METHODS[method], steps
        self.coupling = coupling

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, z = self._halves(x)
        for number in range(self.steps):
            start, end = number / self.steps, (number + 1) / self.steps
            mixed = self.coupling * y + (1 - self.coupling) * z
            y = mixed + self._change(start, 1 / self.steps, z, context)
            z = z - self._change(end, -1 / self.steps, y, context)
        return torch.cat([y, z], dim=1), self._log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        like = y
        y, z = self._halves(y)
        for number in reversed(range(self.steps)):
            start, end = number / self.steps, (number + 1) / self.steps
            z = z + self._change(end, -1 / self.steps, y, context)
            mixed = y - self._change(start, 1 / self.steps, z, context)
            y = (mixed - (1 - self.coupling) * z) / self.coupling
        return torch.cat([y, z], dim=1), -self._log_det(like)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.field.check("reversible ODE", x, parts=2)
        half = self.field.dimension
        return x[:, :half], x[:, half:]

    def _change(self, time: float, size: float, z: Tensor, context: Tensor | None) -> Tensor:
        """``Ψ_h(t, z)``."""
        (change,) = increment(
            self.method, lambda t, state: (self.field(t, state[0], context),), time, size, (z,)
        )
        return change

    def _log_det(self, x: Tensor) -> Tensor:
        constant = self.steps * self.field.dimension * math.log(self.coupling)
        return x.new_full((len(x),), constant)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``‖M^N‖₂`` and the same of the inverse, of 2×2 matrices that bound the blocks of J.

        With ``Lip(Ψ) ≤ b = p(hL) - 1`` (:func:`growth`), the first line's Jacobian has blocks of
        norms ``[[λ, 1 - λ + b], [0, 1]]``, the second's ``[[1, 0], [b, 1]]``; their inverses
        ``[[1/λ, (1 - λ + b)/λ], [0, 1]]`` and ``[[1, 0], [b, 1]]``. Norms of blocks multiply as
        matrices do, from above, and a matrix of larger entries that are not negative has a larger
        norm.
        """
        size, least = growth(self.method, self.field.lipschitz() / self.steps) - 1, self.coupling
        second = torch.tensor([[1.0, 0.0], [size, 1.0]], dtype=torch.float64)
        mixed = 1 - least + size
        first = torch.tensor([[least, mixed], [0.0, 1.0]], dtype=torch.float64)
        undone = torch.tensor([[1 / least, mixed / least], [0.0, 1.0]], dtype=torch.float64)
        return BiLipschitz(_norm(second @ first, self.steps), _norm(undone @ second, self.steps))

    @torch.no_grad()
    def image(self, box: Box) -> Box | None:
        """``F(x)`` lies within ``Lip ‖r‖₂`` of ``F(m)``, for centre m and radius r."""
        if self.field.context:
            return None  # F(m) depends on it
        centre, radius = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
        middle = copy.deepcopy(self).double()(centre.unsqueeze(0))[0].squeeze(0)
        spread = self.bounds().forward * torch.linalg.vector_norm(radius)
        return Box(middle - spread, middle + spread)


def _norm(matrix: Tensor, power: int) -> float:
    """``‖M^N‖₂``; inf where it is not finite."""
    found = torch.linalg.matrix_power(matrix, power)
    return float(torch.linalg.matrix_norm(found, 2)) if found.isfinite().all() else math.inf
