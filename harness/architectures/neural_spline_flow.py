"""Neural spline flow for vectors."""

from typing import Annotated, Any

import torch
from pydantic import Field

from harness.architectures.coupling_flow import coupling_flow, one_dimension
from harness.architectures.mixing import Mixing
from harness.bijections.base import Bijection
from harness.bijections.transformers.spline_transformer import (
    CONSTRAINED,
    RationalQuadraticSpline,
    unfit,
)
from harness.registry import Combination, Shape, entry


def _refuses(combination: Combination) -> str | None:
    given: dict[str, Any] = combination.architecture.parameters
    return one_dimension(combination) or unfit(*(given[name] for name in CONSTRAINED))


# RQ-NSF (C) of arXiv 1906.04032 on POWER; perceptrons are in the place of its residual networks.
NSF_POWER = {
    "couplings": 10,
    "width": 256,
    "maximum_slope": None,
    "mixing": "lu",
    "actnorm": False,
}


@entry(version=1, refuses=_refuses, presets={"nsf_power": NSF_POWER})
def neural_spline_flow(
    shape: Shape,
    generator: torch.Generator,
    *,
    bins: Annotated[int, Field(ge=2, le=256)] = 8,
    bound: Annotated[float, Field(gt=0, le=1e6)] = 3.0,
    minimum_width: Annotated[float, Field(gt=0, lt=0.5)] = 1e-3,
    minimum_height: Annotated[float, Field(gt=0, lt=0.5)] = 1e-3,
    minimum_slope: Annotated[float, Field(gt=0, lt=1)] = 1e-3,
    maximum_slope: Annotated[float, Field(gt=1, le=1e6)] | None = 10.0,
    couplings: Annotated[int, Field(ge=1, le=1000)] = 8,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    mixing: Mixing = "permutation",  # type: ignore[assignment]
    actnorm: bool = True,
) -> Bijection:
    """Rational-quadratic spline coupling: bounded both ways, if slopes at the knots are.

    Durkan et al. 2019, arXiv 1906.04032, whose slopes are those of ``maximum_slope: null`` and
    whose mixing is ``lu``. Raise the minima to make the bounds small.
    """
    transformer = RationalQuadraticSpline(
        bins=bins,
        bound=bound,
        minimum_width=minimum_width,
        minimum_height=minimum_height,
        minimum_slope=minimum_slope,
        maximum_slope=maximum_slope,
    )
    return coupling_flow(
        shape,
        generator,
        transformer,
        couplings=couplings,
        width=width,
        layers=layers,
        mixing=mixing,
        actnorm=actnorm,
    )
