"""How far an adversary gets: the reconstruction error near given inputs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection
from harness.precisions import PRECISIONS, PrecisionName, UnsupportedError, WantedPrecisions
from harness.probes.attack_ball import Ball, NormName
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary, per_sample_norm
from harness.record import Measurement
from harness.registry import entry

WantedNorms = Annotated[list[NormName], Field(min_length=1)]


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    """A step up there and back, each with a product with its Jacobian, and a random point."""
    evaluations = parameters["restarts"] * (parameters["steps"] + 1)
    kinds = len(parameters["norms"]) * len(parameters["precisions"])
    return int(sets * parameters["points"] * kinds * evaluations * (2 * 2 + 2))


@entry(version=1, cost=_cost)
def attack(
    *,
    points: Annotated[int, Field(ge=1)] = 16,
    epsilon: Annotated[float, Field(gt=0)] = 0.5,
    norms: WantedNorms = ["linf", "l2"],  # noqa: B006 - only read
    steps: Annotated[int, Field(ge=1)] = 20,
    step_size: Annotated[float, Field(gt=0)] = 0.2,
    restarts: Annotated[int, Field(ge=1)] = 1,
    clamp: bool = True,
    failure: Annotated[float, Field(gt=0)] = 1e-2,
    precisions: WantedPrecisions = ["float32"],  # noqa: B006 - only read
) -> Probe:
    """The invertibility attack: the largest ‖F⁻¹(F(x + δ)) - (x + δ)‖₂ with ‖δ‖ ≤ ε that is found.

    By projected gradient ascent (PGD, arXiv 1706.06083; against inverses arXiv 2006.09347, §4.2)
    from random starts, beside as many points at random in the same ball: if only the first finds
    failures, they are rare and an adversary finds them anyway. ``epsilon`` is in units of half
    the range of all training data. It limits every entry of δ (``linf``), or their root mean
    square (``l2``, a ball of radius ε √D); ``clamp`` keeps ``x + δ`` within the range of the
    training data, where x is. A step is ``step_size`` ε long, along the sign of the gradient or
    the gradient. An iterative inverse is differentiated by its implicit gradient.

    Of each norm, ``<norm>_pgd_…`` and ``<norm>_random_…``: ``error_median``, of each input's
    largest error, where one that is not finite counts as larger than any number, so the median
    may be inf; ``error_worst_finite``; ``non_finite_fraction``; ``failed_fraction``, of inputs
    with an error above ``failure`` or not finite; ``first_failure_step_median``, at which it first
    was, inf for never (0 is the random start; of random points, their number). Cost: 6 passes an
    input, norm, precision, restart and step: there and back with a gradient (4), and one random
    point (2).
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        inputs = subject.inputs
        x, places = inputs.first(points)
        lowest, highest = float(inputs.lowest.min()), float(inputs.highest.max())
        half = (highest - lowest) / 2
        low, high = (lowest, highest) if clamp else (-math.inf, math.inf)
        measured = []
        for precision in precisions:
            for norm in norms:
                ball = Ball(norm, x.double(), epsilon * half, low, high)
                found = {"pgd": _Worst(len(x), failure, x), "random": _Worst(len(x), failure, x)}
                try:
                    for _ in range(restarts):
                        point = ball.anywhere(generator)
                        for step in range(steps + 1):
                            asked = subject.ask(_ascending, precision, _as(point, precision))
                            error, gradient, converged = await asked
                            found["pgd"].see(step, error, converged)
                            up = ball.step(gradient, step_size, generator)
                            point = ball.nearest(point + up)
                    for number in range(restarts * (steps + 1)):
                        point = _as(ball.anywhere(generator), precision)
                        error, converged = await subject.ask(_error, precision, point)
                        found["random"].see(number, error, converged)
                except UnsupportedError:
                    found = {}
                for name, place in places.items():
                    summary = Summary("attack", name, precision, inputs.step)
                    if not found:
                        count = place.stop - place.start
                        metric = f"{norm}_pgd_error_median"
                        measured.append(summary.unsupported(metric, count))
                    for kind, worst in found.items():
                        measured += worst.summarized(f"{norm}_{kind}", place, summary)
        return measured

    return probe


def _as(x: Tensor, precision: PrecisionName) -> Tensor:
    return x.to(PRECISIONS[precision].dtype)


def _back(network: Bijection, x: Tensor) -> tuple[Tensor, Tensor]:
    """``‖F⁻¹(F(x)) - x‖₂`` of each input, and whether the inverse ended."""
    there, _ = network(x)
    back, _, report = network.inverse_with_convergence(there)
    return per_sample_norm(back - x), report.converged


@torch.no_grad()
def _error(network: Bijection, x: Tensor) -> tuple[Tensor, Tensor]:
    return _back(network, x)


def _ascending(network: Bijection, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The error of each input, its gradient by that input alone, and whether the inverse ended."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        error, converged = _back(network, x)
        # A sum, as each error depends on its own input alone.
        (gradient,) = torch.autograd.grad(error.sum(), x, materialize_grads=True)
    return error.detach(), gradient, converged


@dataclass
class _Worst:
    """Of each input the largest error so far, and when one first counted as a failure.

    NaN and inf are larger than any number, and alike.
    """

    count: int
    failure: float
    like: Tensor

    def __post_init__(self) -> None:
        device = self.like.device
        self.error = torch.full((self.count,), -1.0, dtype=torch.float64, device=device)
        self.converged = torch.ones(self.count, dtype=torch.bool, device=device)
        self.first = torch.full_like(self.error, math.inf)

    def see(self, step: int, error: Tensor, converged: Tensor) -> None:
        error = error.double().nan_to_num(math.inf, math.inf)
        failed = error > self.failure
        now = torch.full_like(self.first, step)
        self.first = torch.where(failed, torch.minimum(self.first, now), self.first)
        larger = error > self.error
        self.converged = torch.where(larger, converged, self.converged)
        self.error = torch.where(larger, error, self.error)

    def summarized(self, prefix: str, place: slice, summary: Summary) -> list[Measurement]:
        error, first, count = self.error[place], self.first[place], place.stop - place.start
        finite = error.isfinite()
        ended = replace(summary, converged=bool(self.converged[place][finite].all()))
        worst = float(error[finite].max()) if finite.any() else math.nan
        failed = float(first.isfinite().double().mean())
        return [
            ended.one(f"{prefix}_error_median", _median(error), count),
            ended.one(f"{prefix}_error_worst_finite", worst, count),
            summary.one(f"{prefix}_non_finite_fraction", 1 - float(finite.double().mean()), count),
            summary.one(f"{prefix}_failed_fraction", failed, count),
            summary.one(f"{prefix}_first_failure_step_median", _median(first), count),
        ]


def _median(values: Tensor) -> float:
    """The upper one of two in the middle: between a number and inf there is nothing."""
    return float(values.sort().values[len(values) // 2])
