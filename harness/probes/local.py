"""What each layer of a network does near what it is given. ``B`` inputs, ``L`` layers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.path import layers
from harness.bijections.shape.factor_out import Beside
from harness.probes.jacobian import spectra
from harness.probes.lanczos import Jacobian, Largest, largest_singular_value
from harness.probes.summary import per_sample_norm

STEPS = 40
TOLERANCE = 1e-3


class Extremes(NamedTuple):
    """Of the Jacobians of a layer, each ``(B,)``.

    Attributes:
        largest: ``σ_max(J)``, NaN where the Jacobian is not finite.
        smallest: ``σ_min(J)``, likewise.
        finite: Whether the Jacobian is.
        largest_known: Whether the iteration behind it ended at its tolerance.
        smallest_known: Likewise, or whether float64 resolves it beside the largest.
    """

    largest: Tensor
    smallest: Tensor
    finite: Tensor
    largest_known: Tensor
    smallest_known: Tensor


class Local(NamedTuple):
    """Of each layer at what it is given, each ``(B, L)``.

    Attributes:
        extremes: Of the Jacobians.
        least_scale: The least of the block's :meth:`~harness.bijections.base.Bijection.scales`.
        greatest_scale: The greatest.
        has_scales: Whether the block has any: the same for all inputs.
    """

    extremes: Extremes
    least_scale: Tensor
    greatest_scale: Tensor
    has_scales: Tensor

    def part(self, place: slice) -> "Local":
        """Of some inputs."""
        extremes, *scales = self
        return Local(Extremes(*(one[place] for one in extremes)), *(one[place] for one in scales))


Solver = Callable[[Bijection, Tensor, Tensor], Extremes]


def local_by_svd(network: Bijection, x: Tensor, start: Tensor) -> Local:
    """Cost: a forward pass, and D products with each layer's Jacobian and an SVD.

    Of an affine layer the singular values are its scales. What passes beside a layer adds ones.

    Args:
        network: The network, in float64.
        x: Its inputs ``(B, *shape)``.
        start: Not used.
    """
    return _local(network, x, start, _by_svd)


def local_by_products(network: Bijection, x: Tensor, start: Tensor) -> Local:
    """Likewise, by products with the Jacobians of each layer and of its inverse.

    Args:
        network: The network, in float64.
        x: Its inputs ``(B, *shape)``.
        start: Directions to begin with, ``(B, D)``.
    """
    return _local(network, x, start, _by_products)


def _local(network: Bijection, x: Tensor, start: Tensor, solver: Solver) -> Local:
    extremes, scales = [], []
    for layer in layers(network):
        with torch.no_grad():
            found = layer.bijection.scales(x)
            y, _ = layer.bijection(x)
        extremes.append(_extremes(layer.bijection, x, found, start, solver))
        scales.append(_ends(found, x))
        x = y
    return Local(Extremes(*_columns(extremes)), *_columns(scales))


def _columns(rows: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    return [torch.stack(column, 1) for column in zip(*rows, strict=True)]


def _extremes(
    block: Bijection, x: Tensor, scales: Tensor | None, start: Tensor, solver: Solver
) -> Extremes:
    if isinstance(block, Beside):
        found = _extremes(block.bijection, block.given(x), scales, start, solver)
        return found._replace(
            largest=found.largest.clamp_min(1), smallest=found.smallest.clamp_max(1)
        )
    if not block.is_affine:
        return solver(block, x, start)
    values = x.new_ones(len(x), 1) if scales is None else scales
    return _resolved(values.amax(1), values.amin(1), values.isfinite().all(1), x[0].numel())


def _by_svd(block: Bijection, x: Tensor, _: Tensor) -> Extremes:
    found = spectra(block, x)
    return _resolved(found.largest, found.smallest, found.finite, x[0].numel())


def _resolved(largest: Tensor, smallest: Tensor, finite: Tensor, dimension: int) -> Extremes:
    """Singular values are known to within about ``D ε σ_max``: a smaller σ_min is rounding."""
    largest, smallest = (torch.where(finite, end, torch.nan) for end in (largest, smallest))
    resolved = smallest > dimension * torch.finfo(largest.dtype).eps * largest
    return Extremes(largest, smallest, finite, finite, resolved & finite)


def _by_products(block: Bijection, x: Tensor, start: Tensor) -> Extremes:
    """``σ_min(J) = 1 / σ_max(J⁻¹)``, and J⁻¹ is the Jacobian of the inverse, where it is one."""
    with torch.no_grad():
        y, _ = block(x)
        off = per_sample_norm(block.inverse(y)[0] - x)
    forward = _norm(Jacobian(lambda x: block(x)[0], x), start)
    inverse = _norm(Jacobian(lambda y: block.inverse(y)[0], y), start)
    finite = forward.value.isfinite() & inverse.value.isfinite()
    largest, smallest = (
        torch.where(finite, end, torch.nan) for end in (forward.value, inverse.value.reciprocal())
    )
    is_inverse = off <= TOLERANCE * per_sample_norm(x)
    return Extremes(largest, smallest, finite, _ended(forward), _ended(inverse) & is_inverse)


def _norm(jacobian: Jacobian, start: Tensor) -> Largest:
    return largest_singular_value(jacobian, start[:, : jacobian.columns], TOLERANCE, STEPS)


def _ended(found: Largest) -> Tensor:
    return (found.error <= TOLERANCE * found.value) | ~found.value.isfinite()


def _ends(scales: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least, greatest and whether there are any, ``(B,)`` each."""
    if scales is None:
        nothing = x.new_full((len(x),), torch.nan)
        return nothing, nothing, torch.zeros(len(x), dtype=torch.bool, device=x.device)
    return scales.amin(1), scales.amax(1), torch.ones(len(x), dtype=torch.bool, device=x.device)
