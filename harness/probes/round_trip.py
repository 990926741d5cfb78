"""Round trips through a network, and what part of their error is the inverse's own."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.probes.summary import per_sample_norm

CORRECTIONS = 3
"""How often :func:`invert_well` improves on its start at most."""
CORRECTION_PASSES = 2 * CORRECTIONS + 1
"""Passes of one input that :func:`invert_well` takes at most."""
SETTLED = 1e-6
"""What may be left of the way to an inverse where no further correction is worth its cost."""


class Trip(NamedTuple):
    """A round trip of B inputs.

    Attributes:
        latent: ``F(x)``.
        back: ``F⁻¹(F(x))``.
        report: How that inverse ended.
    """

    latent: Tensor
    back: Tensor
    report: Convergence

    def part(self, place: slice) -> "Trip":
        """Of some of the inputs."""
        report = Convergence(*(one[place] for one in self.report))
        return Trip(self.latent[place], self.back[place], report)


class Further(NamedTuple):
    """What became of B inputs that came back once, and of B latents.

    Attributes:
        repeated: The inputs after all round trips.
        repeated_converged: Whether each further inverse ended at its tolerance, ``(B,)``.
        again: ``F(F⁻¹(z))``.
        again_converged: Whether that inverse did, ``(B,)``.
    """

    repeated: Tensor
    repeated_converged: Tensor
    again: Tensor
    again_converged: Tensor

    def part(self, place: slice) -> "Further":
        """Of some of the inputs."""
        return Further(*(one[place] for one in self))


@torch.no_grad()
def there_and_back(network: Bijection, x: Tensor) -> Trip:
    """``x → F(x) → F⁻¹(F(x))``. Cost: two passes."""
    latent = network(x)[0]
    back, _, report = network.inverse_with_convergence(latent)
    return Trip(latent, back, report)


@dataclass(frozen=True)
class GoOn:
    """So many more round trips of what came back, and ``z → F⁻¹(z) → F(F⁻¹(z))`` once.

    More round trips from a latent ``z = F(x)`` would be the images of those from x. Cost: two
    passes a round trip.
    """

    count: int

    @torch.no_grad()
    def __call__(self, network: Bijection, back: Tensor, z: Tensor) -> Further:
        repeated, converged = back, torch.ones(len(back), dtype=torch.bool, device=back.device)
        for _ in range(self.count):
            repeated, _, ended = network.inverse_with_convergence(network(repeated)[0])
            converged = converged & ended.converged
        sample, _, sampled = network.inverse_with_convergence(z)
        return Further(repeated, converged, network(sample)[0], sampled.converged)


@torch.no_grad()
def encode(network: Bijection, x: Tensor) -> Tensor:
    """``F(x)``."""
    latent: Tensor = network(x)[0]
    return latent


@torch.no_grad()
def invert_well(network: Bijection, x: Tensor, latent: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """``x* = F⁻¹(z)`` near x with ``F(x) = latent``, by an inverse G that need not be a good one.

    ``x ← x + G(z) - G(F(x))``, at rest where ``F(x) = z`` if G tells the two apart. A correction
    leaves of the way to x* as much as G leaves of an error: nothing for a closed form, ``c^(m+1)``
    for m iterations of a residual block. A sample that has come to rest is not moved again, so
    that what is found of it does not depend on the others.

    Returns:
        x*, shaped like x, and how far it may be off, ``(B,)``: ``s / (1 - s) ‖x* - x‖`` with the
        share ``s = ‖F(x*) - z‖ / ‖F(x) - z‖`` of the way that is left, inf where nothing was
        gained, so that a G which is constant is not believed; and, of a sample that has not come
        to rest, the last correction.
    """
    target, again = network.inverse(z)[0], network.inverse(latent)[0]
    start = per_sample_norm(latent - z)
    found, share, last = x, torch.ones_like(start), torch.zeros_like(start)
    moves = torch.ones_like(start, dtype=torch.bool)
    for left in reversed(range(CORRECTIONS)):
        step = target - again
        there = network(found + step)[0]
        found = torch.where(moves.view(-1, *[1] * (x.ndim - 1)), found + step, found)
        missed = per_sample_norm(there - z)
        # Both are 0 where nothing was rounded.
        share = torch.where(moves, torch.where(missed == 0, missed, missed / start), share)
        last = per_sample_norm(step)
        moves = moves & (share > SETTLED)
        if not left or not moves.any():
            break
        again = network.inverse(there)[0]
    ahead = torch.where(share < 1, share / (1 - share) * per_sample_norm(found - x), torch.inf)
    return found, ahead + torch.where(moves, last, 0)
