"""Mixing: linear maps over channels by name, for what stands between two couplings.

A coupling leaves a part as it is; a mixing decides what meets what in the next one.
"""

from typing import Annotated, Any

import torch
from pydantic import Field

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.linear import decomposed, linear, orthogonal
from harness.bijections.linear.permutation import Permutation
from harness.registry import Nested, entry


@entry(version=1)
def none(channels: int, generator: torch.Generator) -> Bijection:
    """Nothing is mixed: couplings take turns in what they keep, as in NICE and RealNVP."""
    return Permutation(torch.arange(channels))


@entry(version=1)
def permutation(channels: int, generator: torch.Generator) -> Bijection:
    """A fixed permutation drawn at random: Glow's shuffle."""
    return Permutation.random(channels, generator)


@entry(version=1)
def reverse(channels: int, generator: torch.Generator) -> Bijection:
    """The order of channels reversed."""
    return Permutation.reverse(channels)


@entry(version=1)
def plain(channels: int, generator: torch.Generator) -> Bijection:
    """W as it is: nothing keeps it invertible."""
    return linear.PlainLinear(channels, generator)


@entry(version=1)
def lu(channels: int, generator: torch.Generator) -> Bijection:
    """W = P L U, Glow's: always invertible in exact arithmetic, without a bound on how badly."""
    return linear.LULinear(channels, generator)


@entry(version=1)
def qr(channels: int, generator: torch.Generator) -> Bijection:
    """W = Q R with a positive diagonal: as LU, with an orthogonal factor."""
    return decomposed.QRLinear(channels, generator)


@entry(version=1)
def svd(
    channels: int,
    generator: torch.Generator,
    *,
    scale: Annotated[dict[str, Any], Nested("scale_map")] = "bounded_exp",  # type: ignore[assignment]
) -> Bijection:
    """W = U diag(g(h)) Vᵀ: bounded both ways by the range of the scale map g."""
    return decomposed.SVDLinear(channels, generator, registry.build("scale_map", scale))


@entry(version=1)
def householder(
    channels: int,
    generator: torch.Generator,
    *,
    reflections: Annotated[int, Field(ge=1)] | None = None,
) -> Bijection:
    """Orthogonal, a product of reflections; as many as channels if not given."""
    return orthogonal.Householder(channels, generator, reflections)


@entry(version=1)
def cayley(channels: int, generator: torch.Generator) -> Bijection:
    """Orthogonal, the Cayley map of a skew matrix."""
    return orthogonal.Cayley(channels, generator)


@entry(version=1)
def matrix_exponential(channels: int, generator: torch.Generator) -> Bijection:
    """Orthogonal, the exponential of a skew matrix."""
    return orthogonal.MatrixExponential(channels, generator)
