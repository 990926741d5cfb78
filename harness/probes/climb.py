"""The search for the inputs at which a Jacobian is worst."""

import math
import sys
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.bijections.base import BiLipschitz
from harness.probes.ends import AtEnds, Ends
from harness.probes.region import Region
from harness.probes.subject import Subject

FIRST_STEP = 0.3
"""In units of half the sides of the region."""

GOALS = ("forward", "inverse", "condition_number")


@dataclass
class Worst:
    """The largest that were seen, whichever search met them.

    Attributes:
        logs: Of each goal; ``-inf`` where none was finite.
        known: Whether that number is.
        surely: ``log 1/σ_min`` as far as it is beyond doubt.
        seen: How many points.
        lost: At how many of them the Jacobian was not finite.
    """

    logs: dict[str, float] = field(default_factory=lambda: dict.fromkeys(GOALS, -math.inf))
    known: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(GOALS, True))
    surely: float = -math.inf
    seen: int = 0
    lost: int = 0

    def see(self, ends: Ends) -> None:
        """Whatever else was the goal of a point."""
        both = ends.forward_known & ends.inverse_known
        known = dict(zip(GOALS, (ends.forward_known, ends.inverse_known, both), strict=True))
        for goal, height in _heights(ends).items():
            best = int(height.argmax())
            if float(height[best]) > self.logs[goal]:
                self.logs[goal], self.known[goal] = float(height[best]), bool(known[goal][best])
        self.surely = max(self.surely, float(ends.inverse_surely.max()))
        self.seen += len(ends.finite)
        self.lost += int((~ends.finite).sum())

    def value(self, goal: str) -> float:
        """NaN where no Jacobian was finite."""
        return _exp(self.logs[goal])

    def sure(self) -> BiLipschitz:
        """What both constants are at least; NaN where nothing is known."""
        return BiLipschitz(_exp(self.logs["forward"]), _exp(self.surely))


def _exp(log: float) -> float:
    if log == -math.inf:
        return math.nan
    return math.exp(log) if log < math.log(sys.float_info.max) else math.inf


def _heights(ends: Ends) -> dict[str, Tensor]:
    return dict(zip(GOALS, (ends.forward, ends.inverse, ends.forward + ends.inverse), strict=True))


async def climb(
    subject: Subject,
    asked: AtEnds,
    region: Region,
    starts: Tensor,
    steps: int,
    generator: torch.Generator,
) -> Worst:
    """Gradient ascent on ``log σ_max``, on ``log 1/σ_min`` and on their sum, from every start.

    Each climber stands at the best point that it has seen. A step up its gradient that leads
    higher makes the next one half as long again; one that does not is taken back, and the next one
    is half as long. Where the Jacobian is not finite there is no slope, and it goes anywhere.

    Args:
        subject: The network.
        asked: What of it; with slopes.
        region: Where to stay.
        starts: ``(S, *shape)`` in float64.
        steps: How many; all climbers are asked at once.
        generator: Of what is random.
    """
    worst, many = Worst(), len(GOALS)
    point = starts.repeat(many, *[1] * (starts.ndim - 1))
    goal = torch.arange(many, device=point.device).repeat_interleave(len(starts))
    toward_forward, toward_inverse = (goal != 1).to(point), (goal != 0).to(point)
    best = point.new_full((len(point),), -math.inf)
    uphill = torch.zeros_like(point)
    length = torch.full_like(best, FIRST_STEP)
    standing = point
    for _ in range(steps + 1):
        random = torch.randn(point.shape, generator=generator, dtype=point.dtype).to(point.device)
        ends = await subject.ask(asked, "float64", point, random)
        worst.see(ends)
        # No `inf · 0`: what is not climbed is not added.
        height = torch.where(goal == 1, 0.0, ends.forward) + torch.where(
            goal == 0, 0.0, ends.inverse
        )
        higher = height > best
        slope = _rows(toward_forward, point) * ends.forward_slope
        slope = slope + _rows(toward_inverse, point) * ends.inverse_slope
        standing = torch.where(_rows(higher, point), point, standing)
        uphill = torch.where(_rows(higher, point), slope, uphill)
        best = torch.where(higher, height, best)
        length = torch.where(higher, 1.5 * length, 0.5 * length)
        point = region.step(standing, uphill, length)
        nowhere = _rows(best == -math.inf, point)
        point = torch.where(nowhere, region.anywhere(len(point), generator), point)
    return worst


async def search(
    subject: Subject,
    asked: AtEnds,
    region: Region,
    count: int,
    times: int,
    generator: torch.Generator,
) -> Worst:
    """Of points uniform in the region, so many at once and so many times."""
    worst = Worst()
    for _ in range(times):
        point = region.anywhere(count, generator)
        random = torch.randn(point.shape, generator=generator, dtype=point.dtype).to(point.device)
        worst.see(await subject.ask(asked, "float64", point, random))
    return worst


def _rows(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.view(-1, *[1] * (like.ndim - 1))
