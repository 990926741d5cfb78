"""The monotone rational-quadratic spline as a coupling's transformer."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.bijections.given import check_least, check_within
from harness.bijections.transformers import spline_box
from harness.bijections.transformers.elementwise import Transformer
from harness.bijections.transformers.elementwise_bounds import Derivatives, intersection
from harness.bijections.transformers.spline import Knots, edges, spline, spline_inverse
from harness.bijections.transformers.spline_bounds import Constants
from harness.registry import entry

CONSTRAINED = ("bins", "minimum_width", "minimum_height", "minimum_slope", "maximum_slope")
"""The parameters that :func:`unfit` takes."""


class RationalQuadraticSpline(Transformer):
    """``y = spline(x; h)`` on [-bound, bound] and ``y = x`` outside (arXiv 1906.04032).

    Of ``3K - 1`` parameters an element, the first K are the widths of the bins before a softmax,
    the next K their heights likewise, and the rest the slopes at the inner knots. Where all are
    0, the spline is the identity.

    A slope is ``minimum_slope + softplus(h + const)`` as in the paper, or, with a
    ``maximum_slope``, ``minimum_slope + (maximum_slope - minimum_slope) σ(h + const)``: only then
    do the constants bound what the conditioner can do.

    Raises:
        ValueError: Fewer than 2 bins, a bound or a minimum that is not positive and finite; bins of
            the least width or height do not fit in the interval, or 1 is not
            between the least and the greatest slope.
    """

    def __init__(
        self,
        *,
        bins: int,
        bound: float,
        minimum_width: float,
        minimum_height: float,
        minimum_slope: float,
        maximum_slope: float | None,
    ) -> None:
        super().__init__()
        name = "RationalQuadraticSpline"
        check_least(name, 2, bins=bins)
        check_within(
            name,
            0,
            math.inf,
            bound=bound,
            minimum_width=minimum_width,
            minimum_height=minimum_height,
            minimum_slope=minimum_slope,
        )
        if maximum_slope is not None:
            check_within(name, 1, math.inf, maximum_slope=maximum_slope)
        message = unfit(bins, minimum_width, minimum_height, minimum_slope, maximum_slope)
        if message is not None:
            raise ValueError(message)
        self.bins, self.parameters_per_element = bins, 3 * bins - 1
        rate = 1.0 if maximum_slope is None else (maximum_slope - minimum_slope) / 4
        limit = math.inf if maximum_slope is None else maximum_slope
        self.constants = Constants(
            bins, bound, minimum_width, minimum_height, minimum_slope, limit, rate
        )
        # So that a slope is 1 at h = 0.
        self._shift = (
            math.log(math.expm1(1 - minimum_slope))
            if maximum_slope is None
            else math.log((1 - minimum_slope) / (maximum_slope - 1))
        )

    def knots(self, h: Tensor) -> Knots:
        """The spline of each element; h has shape ``(B, (3K - 1) D, …)``."""
        count = self.parameters_per_element
        each = h.reshape(len(h), count, h.shape[1] // count, *h.shape[2:])
        widths, heights, raw = torch.split(each, [self.bins, self.bins, self.bins - 1], dim=1)
        _, bound, minimum_width, minimum_height, low, high, _ = self.constants
        raw = raw + self._shift
        rise = F.softplus(raw) if high == math.inf else (high - low) * raw.sigmoid()
        one = torch.ones_like(raw[:, :1])
        return Knots(
            edges(widths, bound, minimum_width),
            edges(heights, bound, minimum_height),
            torch.cat([one, low + rise, one], dim=1),
        )

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return spline(x, self.knots(h), self.constants.bound)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return spline_inverse(y, self.knots(h), self.constants.bound)

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """Finite where there is a greatest slope, see :meth:`Constants.coupling_bounds`.

        With the paper's softplus there is none: a slope δ at a knot may be anything, and then
        ``f'`` reaches δ there and ``2 s² / δ`` or so between two such knots.
        """
        return self.constants.coupling_bounds(conditioner_lipschitz)

    def _on(self, h: Box) -> tuple[spline_box.Axis, spline_box.Axis, spline_box.Slopes]:
        """Intervals of the knots, for all h in a box."""
        count, channels = self.parameters_per_element, h.lower.shape[0]
        each = h.each(lambda end: end.reshape(1, count, channels // count, *end.shape[2:]))
        sizes = [self.bins, self.bins, self.bins - 1]
        widths, heights, raw = (
            Box(*ends) for ends in zip(*(torch.split(end, sizes) for end in each), strict=True)
        )
        _, bound, minimum_width, minimum_height, low, high, rate = self.constants
        raw = raw.increasing(lambda end: end + self._shift)
        if high == math.inf:
            rise, rates = raw.increasing(_softplus), raw.upper.sigmoid()
        else:
            rise = raw.increasing(lambda end: (high - low) * end.sigmoid())
            # The slope of σ is greatest at 0, or at the point of the interval nearest to it.
            middle = torch.maximum(raw.lower, raw.upper.clamp_max(0)).sigmoid()
            rates = 4 * rate * middle * (1 - middle)
        one = torch.ones_like(raw.lower[:1])
        values = rise.increasing(lambda end: torch.cat([one, low + end, one]))
        return (
            spline_box.axis(widths, bound, minimum_width),
            spline_box.axis(heights, bound, minimum_height),
            spline_box.Slopes(values, rates),
        )

    def derivatives(self, x: Box, h: Box) -> Derivatives:
        """From intervals of the knots, see :mod:`~harness.bijections.transformers.spline_box`.

        Finite on a box with softplus slopes too.
        """
        return spline_box.derivatives(x, *self._on(h), self.constants.bound)

    def image(self, x: Box, h: Box) -> Box:
        widths, heights, _ = self._on(h)
        bins = spline_box.moved(x, widths, heights, self.constants.bound)
        return intersection(bins, self.derivatives(x, h).image(self.forward, x, h))

    def preimage(self, y: Box, h: Box) -> Box:
        widths, heights, _ = self._on(h)
        return spline_box.moved(y, heights, widths, self.constants.bound)


def _softplus(raw: Tensor) -> Tensor:
    # Not F.softplus: above 20 that is the identity, and its error shows in float64.
    return torch.logaddexp(raw, torch.zeros_like(raw))


def unfit_choice(transformer: object) -> str | None:
    """Of a transformer in its settled form: what :func:`unfit` says, if it is such a spline."""
    if not isinstance(transformer, dict) or transformer["name"] != "rational_quadratic_spline":
        return None
    return unfit(*(transformer["parameters"][name] for name in CONSTRAINED))


def unfit(
    bins: int,
    minimum_width: float,
    minimum_height: float,
    minimum_slope: float,
    maximum_slope: float | None,
) -> str | None:
    """What is wrong with a spline's constants, in one sentence, or ``None``."""
    for name, minimum in (("minimum_width", minimum_width), ("minimum_height", minimum_height)):
        if bins * minimum >= 1:
            return f"a spline's {bins} bins do not fit: {name} {minimum} must be below 1/{bins}"
    if not minimum_slope < 1 < (math.inf if maximum_slope is None else maximum_slope):
        return (
            "a spline's tails have slope 1, so 1 must lie between "
            f"minimum_slope {minimum_slope} and maximum_slope {maximum_slope}"
        )
    return None


@entry(version=1)
def rational_quadratic_spline(
    *,
    bins: Annotated[int, Field(ge=2, le=256)] = 8,
    bound: Annotated[float, Field(gt=0, le=1e6)] = 3.0,
    minimum_width: Annotated[float, Field(gt=0, lt=0.5)] = 1e-3,
    minimum_height: Annotated[float, Field(gt=0, lt=0.5)] = 1e-3,
    minimum_slope: Annotated[float, Field(gt=0, lt=1)] = 1e-3,
    maximum_slope: Annotated[float, Field(gt=1, le=1e6)] | None = 10.0,
) -> Transformer:
    """Monotone rational-quadratic spline with linear tails: bounded both ways by its constants.

    ``maximum_slope: null`` is the softplus of arXiv 1906.04032, which nothing bounds.
    """
    return RationalQuadraticSpline(
        bins=bins,
        bound=bound,
        minimum_width=minimum_width,
        minimum_height=minimum_height,
        minimum_slope=minimum_slope,
        maximum_slope=maximum_slope,
    )
