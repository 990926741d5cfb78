"""The contract of every invertible block.

Shapes: ``B`` batch, ``D`` dimensions of a vector, ``C, H, W`` channels, height, width of an image.
"""

import functools
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.bijections.box import Box


class BiLipschitz(NamedTuple):
    """Upper bounds of the two Lipschitz constants; ``inf`` where none exists.

    ``‖F(a) - F(b)‖₂ ≤ forward · ‖a - b‖₂`` and ``‖F⁻¹(a) - F⁻¹(b)‖₂ ≤ inverse · ‖a - b‖₂``. Global,
    or on a box, and then of the Jacobian there: ``σ_max(J_F(x)) ≤ forward`` and
    ``1 / σ_min(J_F(x)) ≤ inverse`` for every x in the box. A map with jumps, which rounds or
    chooses its steps, has no global ones, and on a box those of the Jacobian that gradients are
    made of.
    """

    forward: float
    inverse: float

    def then(self, other: "BiLipschitz") -> "BiLipschitz":
        """Of two maps in turn: bounds multiply."""
        return BiLipschitz(self.forward * other.forward, self.inverse * other.inverse).rounded_up()

    def rounded_up(self) -> "BiLipschitz":
        """Where float64 ends: the least normal number for one below it, and inf for a NaN.

        The constant of a bijection is never 0, and a product of such bounds never ``inf · 0``.
        """
        return BiLipschitz(*map(_rounded_up, self))


def _rounded_up(bound: float) -> float:
    return math.inf if math.isnan(bound) else max(bound, sys.float_info.min)


class Convergence(NamedTuple):
    """How an iterative inverse ended, per sample.

    Attributes:
        iterations: Iterations taken, shape ``(B,)``, int64; 0 for a closed form.
        residual: ``‖x_new - x‖ / (‖x_new‖ + ‖y‖)`` of the last step, shape ``(B,)``; with a
            contraction c the error is at most c / (1 - c) times that.
        converged: Whether the tolerance was reached, shape ``(B,)``, bool.
    """

    iterations: Tensor
    residual: Tensor
    converged: Tensor

    @classmethod
    def closed_form(cls, like: Tensor) -> "Convergence":
        """The report of an inverse that needs no iteration, for a batch like ``like``."""
        batch, device = like.shape[0], like.device
        return cls(
            torch.zeros(batch, dtype=torch.int64, device=device),
            torch.zeros(batch, dtype=like.dtype, device=device),
            torch.ones(batch, dtype=torch.bool, device=device),
        )

    def then(self, other: "Convergence") -> "Convergence":
        """Of two inverses in turn: iterations add, the worse residual, both converged."""
        return Convergence(
            self.iterations + other.iterations,
            torch.maximum(self.residual, other.residual),
            self.converged & other.converged,
        )

    @classmethod
    def of_all(cls, reports: "Iterable[Convergence]") -> "Convergence":
        """Of several inverses in turn, at least one."""
        return functools.reduce(cls.then, reports)


Differentiate = Callable[
    [Tensor | None, Tensor | None, Sequence[Tensor]],
    tuple[Tensor | None, Sequence[Tensor | None]],
]
"""``(by y, by the log-det, wanted) → (by x, by what is wanted)``; ``None`` where none depends."""


class Rebuilt(NamedTuple):
    """A block's input, found again from its output, and the way forward from it once more.

    Attributes:
        x: The input.
        gradients: Of a loss, given those by the block's results: by x, and by leaves that the block
            has used, parameters and the context.
    """

    x: Tensor
    gradients: Differentiate


class Bijection(nn.Module):
    """An invertible map ``y = F(x)`` with ``log |det J_F(x)|``.

    One call gives value and log-det. No call changes a parameter or a buffer; initialisation
    from data is the explicit step :meth:`initialize`, and what follows the data while it trains
    does so by the explicit step :meth:`update`.

    A closed-form block implements ``forward``, ``inverse`` and ``bounds``. A block whose inverse
    iterates implements :meth:`inverse_with_convergence` instead of ``inverse``.

    Attributes:
        block_name: What a reader calls it; ``None`` is the name of its class, and of its parts
            (:func:`harness.bijections.path.block_name`).
        is_affine: Whether ``y = A x + b`` with one A for all x. The singular values of A are then
            those that :meth:`scales` gives, and all 1 where it gives none.
        first_derivatives_only: Whether the inverse is differentiated implicitly, and once.
    """

    block_name: str | None = None
    is_affine = False
    first_derivatives_only = False

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(F(x), log |det J_F(x)|)``; the log-det has shape ``(B,)``."""
        raise NotImplementedError

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(F⁻¹(y), log |det J_F⁻¹(y)|)``; the log-det has shape ``(B,)``."""
        x, log_det, _ = self.inverse_with_convergence(y, context)
        return x, log_det

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        """As :meth:`inverse`, and how its iteration ended."""
        x, log_det = self.inverse(y, context)
        return x, log_det, Convergence.closed_form(y)

    def rebuild(self, y: Tensor, context: Tensor | None = None) -> Rebuilt:
        """``x = F⁻¹(y)``, and from it ``F(x)`` with a graph, for memory-saving backpropagation.

        Its own where one evaluation serves both ways; whoever overrides ``forward`` or ``inverse``
        below such a class gets this one again (:func:`rebuilt`).
        """
        with torch.no_grad():
            x, _ = self.inverse(y, context)
        return again(self, x, context)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """Bounds of the Lipschitz constants, from the present weights.

        Args:
            box: Of inputs, float64; ``None`` asks for the global constants. A bound that holds
                everywhere holds on every box.
        """
        raise NotImplementedError

    def image(self, box: Box) -> Box | None:
        """A box around ``F(x)`` for every x in the box; ``None`` where none is known.

        What a chain needs to bound its later blocks on a box. An end of ±∞ or NaN claims nothing
        of its entry, and whoever is given one may claim nothing that depends on it.
        """
        return None

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        """By what this block multiplies where it is given x, ``(B, N)`` for any N.

        Of an elementwise map its slopes, so of an affine coupling ``g(h)``; of a linear layer the
        singular values of W. A small one is what the inverse divides by. ``None`` where a block
        has no such thing; NaN where a number is lost.
        """
        return None

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set what is initialised from data, given a first batch; returns ``F(x)`` afterwards."""
        return self(x, context)[0]  # type: ignore[no-any-return]

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Move what follows the data, such as running statistics; nothing, if there is none.

        Training calls it after each step, of every block that has one
        (:func:`harness.bijections.statistics.update_statistics`).

        Args:
            x: What this block is given, ``(B, …)``.
        """


def again(block: Bijection, x: Tensor, context: Tensor | None = None) -> Rebuilt:
    """``F(x)`` with a graph that begins at x."""
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        results = block(leaf, context)

    def gradients(
        by_y: Tensor | None, by_log_det: Tensor | None, wanted: Sequence[Tensor]
    ) -> tuple[Tensor | None, Sequence[Tensor | None]]:
        by_x, *rest = differentiated(results, (by_y, by_log_det), [leaf, *wanted])
        return by_x, rest

    return Rebuilt(x, gradients)


def differentiated(
    results: Sequence[Tensor], by: Sequence[Tensor | None], leaves: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """Gradients by the leaves, given those by the results; ``None`` where nothing depends."""
    pairs = zip(results, by, strict=True)
    used = [(one, given) for one, given in pairs if given is not None and one.requires_grad]
    if not used:
        return [None] * len(leaves)
    outputs, given = zip(*used, strict=True)
    return torch.autograd.grad(outputs, leaves, given, allow_unused=True)


def rebuilt(block: Bijection, y: Tensor, context: Tensor | None = None) -> Rebuilt:
    """By the block's own :meth:`Bijection.rebuild`, if that is of the map that it computes."""
    kind = type(block)
    rebuild = kind.rebuild if _rebuilds(kind) else Bijection.rebuild  # type: ignore[arg-type]
    return rebuild(block, y, context)


@functools.cache
def _rebuilds(kind: type) -> bool:
    """Whether its rebuild is of what it computes: a subclass may inherit that of another map."""
    own, *others = (
        next(one for one in kind.__mro__ if name in vars(one))
        for name in ("rebuild", "forward", "inverse", "inverse_with_convergence")
    )
    return all(issubclass(own, one) for one in others)


def sum_per_sample(x: Tensor) -> Tensor:
    """Sum over all dimensions but the first: ``(B, …) → (B,)``."""
    if x.ndim == 2 and x.shape[1] == 1:  # a coupling in two dimensions: there is nothing to add
        return x.squeeze(1)
    return x.sum(tuple(range(1, x.ndim)))  # one call, where flatten and sum are two
