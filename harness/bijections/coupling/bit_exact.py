"""Additive coupling in fixed-point arithmetic: what it does it undoes to the last bit."""

import math
from typing import cast

from torch import Tensor, nn
from torch.func import functional_call

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.grid import Grid
from harness.bijections.coupling.networks import EVERYTHING, Conditioner
from harness.bijections.coupling.splits import Split
from harness.bijections.given import check_alike
from harness.bijections.transformers.elementwise import Additive


class RoundedShift(Additive):
    """``y = x + Q(h)`` with Q the rounding to a grid; its gradient goes straight through."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x, self.grid.round(h))

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().inverse(y, self.grid.round(h))


class InDouble(nn.Module):
    """A conditioner computed in float64, whatever its weights and inputs are.

    How a product is summed depends on the size of the batch. In float32 its rounding moves ``Q(t)``
    by a step once in several hundred numbers: with batches of 512 one way and of one the other,
    two thirds of all 64-dimensional inputs did not come back exactly.

    Args:
        network: The conditioner.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        weights = {name: one.double() for name, one in self.network.named_parameters()}
        found: Tensor = functional_call(self.network, weights, (x.double(),))
        return found.to(x.dtype)

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        """The network's."""
        return cast(Conditioner, self.network).lipschitz(outputs)

    def image(self, box: Box) -> Box:
        """The network's."""
        return cast(Conditioner, self.network).image(box)


class BitExactCoupling(Coupling):
    """``y_a = Q(x_a)``, ``y_b = Q(x_b) + Q(t(y_a))``, and back ``Q(y_b) - Q(t(y_a))``.

    Q rounds to a :class:`Grid`, as in integer flows (arXiv 1905.07376) and
    bit-level reversible transformers (arXiv 2407.09093). On the grid the block is a bijection of
    it, and in floats too: as long as no entry leaves ``±2^i``, a round trip is exact, however
    many blocks follow each other and whatever t is. ``Q(t)`` must be the same both ways: that is
    certain on one device for batches of one size. For others it may be off by a step, once in 10⁹
    numbers or less, as t is computed in float64; where all is float64, once in several hundred.

    An input off the grid is rounded to it first, so the block is a bijection of the grid and not of
    all numbers: a round trip then returns the nearest point of the grid, at most ``h / 2`` away in
    each entry. Beyond ``±2^i`` it is an additive coupling like any other, exact to rounding.
    The log-det is 0, that of the map without Q, and so are gradients.

    Args:
        split: As of :class:`~harness.bijections.coupling.coupling.Coupling`.
        conditioner: t, likewise.
        integer_bits: i, of the grid.
        swap: As of a coupling.
        context: Likewise.

    Raises:
        ValueError: ``integer_bits`` is not from 0 to 64.
    """

    def __init__(
        self,
        split: int | Split,
        conditioner: nn.Module,
        *,
        integer_bits: int = 8,
        swap: bool = False,
        context: int = 0,
    ) -> None:
        grid = Grid(integer_bits)
        shift, network = RoundedShift(grid), InDouble(conditioner)
        super().__init__(split, shift, network, swap=swap, context=context)
        self.grid = grid

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_alike("bit-exact coupling", x, next(self.conditioner.parameters()))
        return super().forward(self.grid.round(x), context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_alike("bit-exact coupling", y, next(self.conditioner.parameters()))
        return super().inverse(self.grid.round(y), context)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """Of the Jacobian on a box, that of the coupling without rounding; none everywhere.

        A map with jumps has no Lipschitz constant, however small they are: two inputs may lie as
        near as floats do, and be rounded a step apart. Between points of the grid there is one,
        the norm of ``[[1, 0], [L + √n, 1]]`` both ways, with L the constant of t and n numbers in
        ``x_b``; but a block cannot know that all it is given lies on the grid.
        """
        return BiLipschitz(math.inf, math.inf) if box is None else super().bounds(box)

    def image(self, box: Box) -> Box | None:
        dtype = next(self.conditioner.parameters()).dtype
        found = super().image(self.grid.around(box, dtype))
        return None if found is None else self.grid.around(found, dtype)
