"""Invertible residual block."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.given import check_alike, check_shape
from harness.bijections.residual.contraction import Contraction
from harness.bijections.residual.fixed_point import fixed_point
from harness.bijections.residual.log_determinant import Exact, LogDeterminant, plus_identity


class Residual(Bijection):
    """``y = x + g(x)`` with ``Lip(g) = c < 1`` (i-ResNet, arXiv 1811.00995).

    The log-det is exact by default, ``log |det(I + J_g)|`` from the explicit Jacobian, so its cost
    grows as D³. While the block trains (``train()``) it may be estimated instead; the buffers that
    a random estimate is made with change only in
    :func:`resample`, so that ``forward(x)`` is a function of
    x, weights and buffers. In evaluation (``eval()``) it is exact or a long series.

    The inverse is the fixed point of ``x ← y - g(x)``, whose error shrinks by c a step, and with
    Anderson acceleration faster, to the same tolerance, which is that of the dtype.

    Args:
        network: g.
        maximum_iterations: Where the inverse gives up and reports that it did not converge.
        in_training: The log-det while the block trains; exact if left out.
        in_evaluation: The log-det otherwise; exact if left out.
        accelerated: Invert with :class:`~harness.bijections.residual.anderson.Anderson`.

    Raises:
        ValueError: ``maximum_iterations`` is not positive; in a call, the input has another
            shape, dtype or device than the network takes.
    """

    first_derivatives_only = True

    def __init__(
        self,
        network: Contraction,
        maximum_iterations: int = 1000,
        *,
        in_training: LogDeterminant | None = None,
        in_evaluation: LogDeterminant | None = None,
        accelerated: bool = False,
    ) -> None:
        super().__init__()
        if maximum_iterations < 1:
            message = (
                f"residual block: maximum_iterations must be at least 1, not {maximum_iterations}"
            )
            raise ValueError(message)
        self.network = network
        self.maximum_iterations = maximum_iterations
        self.in_training, self.in_evaluation = in_training or Exact(), in_evaluation or Exact()
        self.accelerated = accelerated

    @property
    def log_determinant(self) -> LogDeterminant:
        """What computes the log-det at present."""
        return self.in_training if self.training else self.in_evaluation

    def log_det_error_bound(self) -> float:
        """Of the log-det in expectation, from the present weights; 0 where it is unbiased."""
        dimension = math.prod(self.network.shape)
        return self.log_determinant.error_bound(self.network.lipschitz(), dimension)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(x)
        value, log_det = self.log_determinant(self.network, x)
        return x + value, log_det

    def _check(self, x: Tensor) -> None:
        check_shape("Residual", x, self.network.shape)
        check_alike("Residual", x, next(self.network.parameters()))

    def solve(
        self, g: Callable[[Tensor], Tensor], y: Tensor, parts: int = 1
    ) -> tuple[Tensor, Convergence]:
        """The x of ``y = x + g(x)``, and how the iteration ended; no gradient.

        Args:
            g: ``(B, *shape) → (B, *shape)``.
            y: Likewise.
            parts: As in :func:`~harness.bijections.residual.fixed_point.fixed_point`.
        """
        shape = y.shape[1:]
        x, report = fixed_point(
            lambda flat: g(flat.view(-1, *shape)).flatten(1),
            y.flatten(1),
            self.maximum_iterations,
            parts=parts,
            accelerated=self.accelerated,
        )
        return x.view(y.shape), report

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        self._check(y)
        weights = self.network.weights()  # normalised once, not in every iteration
        x, report = self.solve(lambda x: self.network(x, weights), y)
        if torch.is_grad_enabled():
            # Implicit function theorem: x moves by (I + J)⁻¹ (dy - dg). The residual y - x - g(x)
            # carries that derivative, at the memory of one evaluation; its value is taken out.
            # First derivatives only: the Jacobian in the solve is a constant.
            value, jacobian = self.network.value_and_jacobian(x)
            residual = (y - x - value).flatten(1).unsqueeze(-1)
            solved = torch.linalg.solve(plus_identity(jacobian).detach(), residual)
            x = x + (solved - solved.detach()).view(x.shape)
        _, log_det = self(x)
        return x, -log_det, report

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``1 + c`` and ``1 / (1 - c)`` (arXiv 1811.00995, lemma 2)."""
        c = self.network.lipschitz()
        return BiLipschitz(1 + c, 1 / (1 - c) if c < 1 else math.inf)

    @torch.no_grad()
    def image(self, box: Box) -> Box:
        """``x + g(x)`` lies within ``r + c ‖r‖₂`` of ``m + g(m)``, for centre m and radius r."""
        centre, radius = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
        network = copy.deepcopy(self.network).double()
        middle = centre + network(centre.unsqueeze(0)).squeeze(0)
        spread = radius + self.network.lipschitz() * torch.linalg.vector_norm(radius)
        return Box(middle - spread, middle + spread)
