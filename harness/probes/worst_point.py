"""How bad it gets anywhere in a region: a lower bound of the Lipschitz constants there."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from harness.probes.climb import GOALS, Worst, climb, search
from harness.probes.ends import WRITTEN_OUT_UP_TO, AtEnds
from harness.probes.region import Region, RegionName
from harness.probes.subject import Inputs, Probe, Subject
from harness.probes.summary import Summary
from harness.record import Measurement
from harness.registry import entry

TOLERANCE, KRYLOV_STEPS = 1e-2, 30


def at_ends(dimension: int, *, slopes: bool) -> AtEnds:
    """What is asked at every point of a search."""
    return AtEnds(dimension <= WRITTEN_OUT_UP_TO, slopes, TOLERANCE, KRYLOV_STEPS)


def climbing_cost(dimension: int, starts: int, steps: int) -> int:
    """Passes that gradient ascent takes."""
    return len(GOALS) * starts * (steps + 1) * at_ends(dimension, slopes=True).cost(dimension)


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    starts, steps = parameters["starts"], parameters["steps"]
    points = len(GOALS) * starts * (steps + 1)
    by_chance = points * at_ends(dimension, slopes=False).cost(dimension)
    return int(climbing_cost(dimension, starts, steps) + by_chance)


@entry(version=1, cost=_cost)
def worst_point(
    *,
    starts: Annotated[int, Field(ge=1)] = 6,
    steps: Annotated[int, Field(ge=0)] = 10,
    region: RegionName = "box",
    times: Annotated[float, Field(gt=0)] = 1.0,
) -> Probe:
    """The largest σ_max(J(x)), 1/σ_min(J(x)) and condition number that are found in a region.

    By gradient ascent on the logarithm of each from ``starts`` points, of which half are inputs
    of any set, brought into the region, and half random. The region is the least ``box`` around
    the training data with its sides ``times`` as long, or the ``ball`` around that box.

    ``forward_worst``, ``inverse_worst``, ``condition_number_worst``: the largest that is finite, a
    lower bound of the constant in that region. ``random_…``: that of as many points drawn
    uniformly. ``bound_forward``, ``bound_inverse``: what the weights promise on the least box
    around the region, an upper bound. ``non_finite_fraction``, ``random_non_finite_fraction``: at
    how many of the points the Jacobian is not finite. Where float64 does not resolve the largest,
    or products do not end within 1 %, it is ``not_converged``. Singular values are exact up to 256
    dimensions, and by Golub-Kahan-Lanczos above. The inputs are called ``data_box`` or
    ``data_ball``. ``dσ = uᵀ dJ v``: a slope takes two passes back through the network and no
    derivative of singular vectors.

    Cost: 3 ``starts`` (``steps`` + 1) points, each a pass, D products (or up to 120) and 8 passes
    for the slopes; as many random points without slopes.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        inputs = subject.inputs
        place = Region.around(region, inputs.box, times)
        dimension = place.centre.numel()
        begin = _starts(inputs, place, starts, generator)
        uphill = at_ends(dimension, slopes=True)
        found = await climb(subject, uphill, place, begin, steps, generator)
        flat = at_ends(dimension, slopes=False)
        many = len(GOALS) * starts
        by_chance = await search(subject, flat, place, many, steps + 1, generator)
        bounds = await subject.bounds(place.around_it())
        summary = Summary("worst_point", f"data_{region}", "float64", inputs.step)
        return [
            *summarized(summary, "", found),
            *summarized(summary, "random_", by_chance),
            summary.one("bound_forward", bounds.forward, 0),
            summary.one("bound_inverse", bounds.inverse, 0),
        ]

    return probe


def _starts(inputs: Inputs, region: Region, count: int, generator: torch.Generator) -> Tensor:
    """Half of them inputs of any set, and the others uniform in the region."""
    pool = torch.cat(list(inputs.sets.values())).double()
    chosen = torch.randperm(len(pool), generator=generator)[: count // 2].to(pool.device)
    given = region.nearest(pool[chosen])
    return torch.cat([given, region.anywhere(count - len(given), generator)])


def summarized(summary: Summary, prefix: str, worst: Worst) -> list[Measurement]:
    """What a search found."""
    numbers = [
        replace(summary, converged=worst.known[goal]).one(
            f"{prefix}{goal}_worst", worst.value(goal), worst.seen
        )
        for goal in GOALS
    ]
    lost = summary.one(f"{prefix}non_finite_fraction", worst.lost / worst.seen, worst.seen)
    return [*numbers, lost]
