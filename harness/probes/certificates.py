"""Whether bounds from the weights hold, and how tight they are."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.probes.bi_lipschitz import is_exact
from harness.probes.climb import Worst, climb
from harness.probes.jacobian import Spectra
from harness.probes.krylov import Krylov
from harness.probes.region import Region
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary
from harness.probes.worst_point import KRYLOV_STEPS, TOLERANCE, at_ends, climbing_cost
from harness.record import Measurement
from harness.registry import entry

SLACK = 1e-9
"""Relative, by which a constant may exceed its bound: the rounding of sums and products in both."""


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    products = dimension if is_exact("auto", dimension) else 4 * KRYLOV_STEPS
    climbing = climbing_cost(dimension, parameters["starts"], parameters["steps"])
    inputs = parameters["points"] * sets * (1 + 2 * products)
    return int(inputs + (climbing if parameters["starts"] else 0))


@entry(version=1, cost=_cost)
def certificates(
    *,
    points: Annotated[int, Field(ge=1)] = 32,
    starts: Annotated[int, Field(ge=0)] = 2,
    steps: Annotated[int, Field(ge=0)] = 4,
) -> Probe:
    """Bounds of both Lipschitz constants beside the largest that was measured where they hold.

    On inputs ``none`` the bounds of all inputs, against all sets; on ``data_box`` those on the
    least box around the training data (``bounds(box)``, interval arithmetic), against the inputs
    that lie in it, whatever their set, and against what gradient ascent within the box reaches
    from ``starts`` random points in ``steps`` steps, which counts for both.

    ``bound_forward`` and ``bound_inverse``; ``measured_forward``, the largest σ_max(J(x)), and
    ``measured_inverse``, the largest 1/σ_min(J(x)) as far as it is surely known: ``σ_min + D ε
    σ_max`` in its place. ``ratio_…``: bound over measured, at least 1, inf where nothing is
    promised; the two of the inverse are ``not_converged`` where some σ_min is lost in rounding: the
    constant is then larger than what is sure of it. ``violated_…``: 1 where the measured exceeds
    the bound by more than rounding: a wrong bound, and 0 otherwise. ``non_finite_fraction``: of how
    many of these inputs the Jacobian is not finite. ``count`` is how many inputs are behind a
    number: it may be 0.

    Cost of an input: a pass and D products with the Jacobian; of each start and step what the
    probe ``worst_point`` takes.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        inputs = subject.inputs
        x, _ = inputs.first(points)
        sure, resolved = await _sure(subject, x, points, generator)
        inside = (x >= inputs.lowest).flatten(1).all(1) & (x <= inputs.highest).flatten(1).all(1)
        reached = Worst()
        if starts:
            place = Region("box", inputs.box)
            begin = place.anywhere(starts, generator)
            asked = at_ends(begin[0].numel(), slopes=True)
            reached = await climb(subject, asked, place, begin, steps, generator)
        measured = []
        wanted: dict[str, tuple[Box | None, Tensor]] = {
            "none": (None, torch.ones_like(inside)),
            "data_box": (inputs.box, inside),
        }
        for name, (box, chosen) in wanted.items():
            bounds = await subject.bounds(box)
            summary = Summary("certificates", name, "float64", inputs.step)
            known = bool(resolved[chosen].all())
            measured += _held(summary, bounds, sure[:, chosen], reached, resolved=known)
        return measured

    return probe


async def _sure(
    subject: Subject, x: Tensor, points: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What both constants surely are at each input, ``(2, B)``; NaN where J is not finite.

    And where the inverse's is its value, and not all that can be known of it, ``(B,)``.
    """
    dimension = x[0].numel()
    if is_exact("auto", dimension):
        found: Spectra = await subject.spectra(points)
        unknown = dimension * torch.finfo(torch.float64).eps * found.largest
        sure = torch.stack([found.largest, (found.smallest + unknown).reciprocal()])
        return sure, found.resolved(dimension) | ~found.finite
    start = torch.randn(len(x), dimension, generator=generator, dtype=torch.float64)
    asked = Krylov(TOLERANCE, KRYLOV_STEPS)
    extremes = await subject.ask(asked, "float64", x.double(), start.to(x.device))
    # A Ritz value is never above the singular value, but one of an inverse that is none is nothing.
    agreed = extremes.disagreement <= TOLERANCE
    inverse = torch.where(agreed, extremes.smallest.reciprocal(), 0.0)
    inverse = torch.where(extremes.finite, inverse, torch.nan)
    known = extremes.smallest_error <= TOLERANCE
    return torch.stack([extremes.largest, inverse]), (agreed & known) | ~extremes.finite


def _held(
    summary: Summary, bounds: BiLipschitz, sure: Tensor, reached: Worst, *, resolved: bool
) -> list[Measurement]:
    """One bound of each constant against what is sure at inputs ``(2, B)``, and on the way up."""
    lost = int((~sure.isfinite()).any(0).sum()) + reached.lost
    count = sure.shape[1] + reached.seen
    found = []
    for number, end in enumerate(("forward", "inverse")):
        bound = getattr(bounds, end)
        finite = sure[number][sure[number].isfinite()]
        climbed = getattr(reached.sure(), end)
        largest = max(
            (one for one in (*finite.tolist(), climbed) if not math.isnan(one)), default=math.nan
        )
        violated = math.nan if math.isnan(largest) else float(largest > bound * (1 + SLACK))
        ratio = bound / largest if largest else math.inf
        known = replace(summary, converged=end == "forward" or resolved)
        found += [
            summary.one(f"bound_{end}", bound, 0),
            known.one(f"measured_{end}", largest, count),
            known.one(f"ratio_{end}", ratio, count),
            summary.one(f"violated_{end}", violated, count),
        ]
    share = lost / count if count else math.nan
    return [*found, summary.one("non_finite_fraction", share, count)]
