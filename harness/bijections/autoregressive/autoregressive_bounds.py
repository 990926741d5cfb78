"""What is known, entry by entry, of an autoregressive block."""

from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.box import Box
from harness.bijections.transformers.elementwise import Additive, Affine, Transformer, halves


class Entries(NamedTuple):
    """Of ``J = E + N``: a box around E, and bounds of ``|N|`` and ``|E⁻¹N|``."""

    diagonal: Box
    below: Tensor
    relative: Tensor

    def in_order(self, sequence: Tensor) -> "Entries":
        """With rows and columns in the order of the elements, where N is lower triangular."""
        diagonal = Box(*(end[sequence] for end in self.diagonal))
        return Entries(diagonal, *(m[sequence][:, sequence] for m in (self.below, self.relative)))


def only_shifts(transformer: Transformer) -> bool:
    """Whether E is the identity everywhere."""
    return type(transformer) is Additive  # a subclass may do more


def entries(
    transformer: Transformer, x: Box | None, h: Box | None, sensitivity: Tensor
) -> Entries | None:
    """From bounds of ``|∂h/∂x|``; ``None`` where nothing is known.

    Of ``y = x g(s) + t``: ``N = diag(x g') J_s + J_t`` and
    ``E⁻¹N = diag(x (log g)') J_s + diag(1/g) J_t``. Of ``y = (x + t) g(s)``:
    ``N = diag((x + t) g') J_s + diag(g) J_t`` and ``E⁻¹N = diag((x + t) (log g)') J_s + J_t``.

    Args:
        transformer: Known are the additive and the affine.
        x: Around the inputs, shape ``(D,)``; ``None`` asks for what holds everywhere.
        h: Around the network's outputs.
        sensitivity: Shape ``(P·D, D)``, float64.
    """
    if only_shifts(transformer):
        one = torch.ones_like(sensitivity[0])
        return Entries(Box(one, one), sensitivity, sensitivity)
    if x is None or h is None:
        return None
    found = transformer.derivatives(x, h)
    if found is not None:
        kinds = sensitivity.reshape(-1, len(x.lower), len(x.lower))
        below, relative = (_rows(rates, kinds).sum(0) for rates in (found.gradient, found.relative))
        return Entries(found.slope, below, relative)
    if type(transformer) is not Affine:
        return None
    of_scale, of_shift = sensitivity.chunk(2)
    raw, shift = halves(h)
    gain = transformer.gain_on(raw)
    first = transformer.order == "shift_first"
    moved = (x.plus(shift) if first else x).largest
    below = _rows(moved * gain.slope, of_scale)
    below = below + _rows(gain.values.upper if first else torch.ones_like(moved), of_shift)
    relative = _rows(moved * gain.log_slope, of_scale)
    least = gain.values.lower
    relative = relative + _rows(torch.ones_like(moved) if first else 1 / least, of_shift)
    return Entries(gain.values, below, relative)


def _rows(factor: Tensor, matrix: Tensor) -> Tensor:
    # Where the network does not look, no factor matters: not even an infinite one.
    return torch.where(matrix == 0, 0.0, factor.unsqueeze(-1) * matrix)
