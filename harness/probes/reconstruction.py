"""Reconstruction error x → z → x and z → x → z."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Convergence
from harness.precisions import (
    PRECISIONS,
    USUAL,
    PrecisionName,
    UnsupportedError,
    WantedPrecisions,
)
from harness.probes.round_trip import CORRECTION_PASSES, RoundTrips, Trips, encode, invert_well
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary, all_converged, per_sample_norm
from harness.record import Measurement
from harness.registry import entry

SPLIT_IN: tuple[PrecisionName, ...] = ("float32", "tf32")
"""Coarser than float64, and with the same weights: what float64 can solve in their place."""
HALF = (torch.bfloat16, torch.float16)
SPLIT_POINTS = 64
"""Of how many inputs of a set errors are split, at most: it takes four inverses in float64."""
KNOWN_TO = 0.1
"""How large the error of either part of a split error may be beside it."""


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    precisions = parameters["precisions"]
    # There and back so many times, from a latent once, and the result once more in float64.
    each = 2 * parameters["round_trips"] + 2 + 1
    rounded = sum(PRECISIONS[one].dtype in HALF for one in precisions)
    passes = parameters["points"] * (1 + each * len(precisions) + rounded)
    split = min(parameters["points"], SPLIT_POINTS) * sum(one in SPLIT_IN for one in precisions)
    return int(sets * (passes + CORRECTION_PASSES * split))


@entry(version=2, cost=_cost)
def reconstruction(
    *,
    points: Annotated[int, Field(ge=1)] = 256,
    round_trips: Annotated[int, Field(ge=1)] = 2,
    precisions: WantedPrecisions = USUAL,
) -> Probe:
    """Reconstruction error of each input, ``x' = F⁻¹(F(x))``, in each precision.

    ``l2_*`` is ``‖x' - x‖₂``, ``rms_*`` that over √D, ``linf_*`` the largest entry, ``relative_*``
    ``‖x' - x‖₂ / ‖x‖₂`` (but for x = 0); each as median, 90 % quantile and worst of those that are
    finite. ``non_finite_fraction`` counts the others, ``nan_fraction``, ``plus_inf_fraction`` and
    ``minus_inf_fraction`` say of what kind: x' with a NaN is in the first, else with +inf in the
    second. ``latent_*`` are all of these of ``F(F⁻¹(z)) - z``, where z is F(x) of the same inputs
    in float64, rounded. ``repeated_l2_*`` and ``repeated_non_finite_fraction`` are of x after
    ``round_trips`` round trips.

    Where an error comes from (docs/decisions/splitting-errors.md):

    - ``rounding_ratio``: the median error over that in float64, of the inputs finite in both. Near
      ε/ε₆₄ (5e8 for float32) it is rounding; near 1 it is the map or its solver. 0/0 is NaN.
    - ``backward_error_*``: ``‖F(x') - F(x)‖₂``, F in float64: the error as seen in the latents.
      ``amplification_*``: ``‖x' - x‖₂`` over it, at most Lip(F⁻¹): what the inverse makes of it.
      Only of inputs with ``x' ≠ x``.
    - ``solver_error_*`` and ``conditioning_error_*`` in float32 and tf32, of up to 64 inputs a set:
      ``‖x' - x*‖₂`` and ``‖x* - x‖₂``, with ``F(x*)`` in float64 equal to the computed F(x). The
      second is what a perfect inverse would lose to the rounding on the way there. Either is
      ``not_converged`` where it is not known to a tenth of itself.

    An inverse that iterates reports iterations, residual and the fraction that did not converge.
    On test inputs and every other set, up to ``points`` of each. The weights are the same in
    float64, float32 and tf32. A precision that the network cannot run in leaves ``l2_median`` with
    the status ``unsupported``. Cost of an input: a pass; two a round trip and three in each
    precision, a fourth in half precision; seven for each of float32 and tf32, of 64 inputs.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        full, places = subject.inputs.first(points)
        exact = await subject.ask(encode, "float64", full.double())
        _, fewer = subject.inputs.first(min(points, SPLIT_POINTS))
        rows = torch.cat(
            [torch.arange(len(full))[place][:SPLIT_POINTS] for place in places.values()]
        ).to(full.device)
        found: dict[PrecisionName, dict[str, _Errors]] = {}
        measured = []
        for precision in dict.fromkeys(precisions):
            dtype = PRECISIONS[precision].dtype
            x, z = full.to(dtype), exact.to(dtype)
            try:
                trips = await subject.ask(RoundTrips(round_trips), precision, x, z)
            except UnsupportedError:
                for name, place in places.items():
                    summary = Summary("reconstruction", name, precision, subject.inputs.step)
                    count = place.stop - place.start
                    measured.append(summary.unsupported("l2_median", count))
                continue
            x64, origin, solved = x.double(), exact, None
            if dtype in HALF:  # where x is rounded
                origin = await subject.ask(encode, "float64", x64)
            seen = await subject.ask(encode, "float64", trips.back.double())
            if precision in SPLIT_IN:
                computed = trips.latent[rows].double()
                solved = await subject.ask(
                    invert_well, "float64", x64[rows], origin[rows], computed
                )
            found[precision] = {}
            for name, place in places.items():
                summary = Summary("reconstruction", name, precision, subject.inputs.step)
                errors = _Errors(summary, x[place], z[place], trips.part(place), round_trips)
                found[precision][name] = errors
                measured += errors.measured()
                measured += errors.amplified(seen[place] - origin[place])
                if solved is not None:
                    measured += errors.split(solved[0][fewer[name]], solved[1][fewer[name]])
        for precision, ours in found.items():
            if precision != "float64" and "float64" in found:
                measured += [ours[name].against(found["float64"][name]) for name in places]
        return measured

    return probe


class _Errors:
    """What is measured of one set of inputs in one precision.

    Args:
        summary: Of which set and precision.
        x: Inputs, in that precision.
        z: Latents, in that precision.
        trips: What became of both.
        round_trips: How many there were.
    """

    def __init__(
        self, summary: Summary, x: Tensor, z: Tensor, trips: Trips, round_trips: int
    ) -> None:
        self._trips, self._round_trips = trips, round_trips
        self._x, self._z = x.double(), z.double()
        self._off = trips.back.double() - self._x
        self._l2 = per_sample_norm(self._off)
        self._summary = summary
        self._ended = replace(summary, converged=all_converged(trips.report, trips.back))

    def measured(self) -> Iterator[Measurement]:
        """Both directions, all round trips, and how the solver ended."""
        trips, summary = self._trips, self._summary
        yield from _norms("", self._ended, self._off, self._x)
        yield from summary.overflows("", trips.back)
        ended = replace(summary, converged=_all(trips.again_converged, trips.again))
        yield from _norms("latent_", ended, trips.again.double() - self._z, self._z)
        yield from summary.overflows("latent_", trips.again)
        if self._round_trips > 1:
            errors = per_sample_norm(trips.repeated.double() - self._x)
            ended = replace(summary, converged=_all(trips.repeated_converged, trips.repeated))
            yield from ended.errors("repeated_l2", errors, "repeated_non_finite_fraction")
        yield from _solver(trips.report, summary)

    def amplified(self, seen: Tensor) -> Iterator[Measurement]:
        """What the error is in the latents, ``F(x') - F(x)``, and what the inverse makes of it."""
        backward = per_sample_norm(seen)
        yield from _errors("backward_error", self._ended, backward)
        wrong = self._l2 != 0
        # However x' came about, F turns this error into that one.
        yield from _errors("amplification", self._summary, self._l2[wrong] / backward[wrong])

    def split(self, solved: Tensor, unknown: Tensor) -> Iterator[Measurement]:
        """What the inverse adds by itself, and what it makes of the rounding on the way there.

        Of the first inputs, as many as are solved.
        """
        count = len(solved)
        parts = {
            "solver_error": per_sample_norm(self._trips.back[:count].double() - solved),
            "conditioning_error": per_sample_norm(solved - self._x[:count]),
        }
        for name, part in parts.items():
            finite = part.isfinite()
            known = bool((unknown[finite] <= KNOWN_TO * part[finite]).all())
            yield from _errors(name, replace(self._summary, converged=known), part)

    def against(self, exact: "_Errors") -> Measurement:
        """The median error over that in float64."""
        both = self._l2.isfinite() & exact._l2.isfinite()
        ratio = _ratio(_median(self._l2[both]), _median(exact._l2[both]))
        converged = self._ended.converged and exact._ended.converged
        summary = replace(self._summary, converged=converged)
        return summary.one("rounding_ratio", ratio, int(both.sum()))


def _norms(prefix: str, summary: Summary, off: Tensor, given: Tensor) -> Iterator[Measurement]:
    l2, size = per_sample_norm(off), per_sample_norm(given)
    yield from summary.errors(f"{prefix}l2", l2, f"{prefix}non_finite_fraction")
    yield from summary.quantiles(f"{prefix}rms", l2 / math.sqrt(off[0].numel()))
    yield from summary.quantiles(f"{prefix}linf", off.flatten(1).abs().amax(1))
    something = size != 0
    yield from summary.quantiles(f"{prefix}relative", l2[something] / size[something])


def _errors(name: str, summary: Summary, values: Tensor) -> list[Measurement]:
    return summary.errors(name, values, f"{name}_non_finite_fraction")


def _solver(report: Convergence, summary: Summary) -> list[Measurement]:
    """How an iterative inverse ended; nothing for a closed form."""
    if not (report.iterations > 0).any():
        return []
    count = len(report.iterations)
    unfinished = 1 - float(report.converged.double().mean())
    return [
        summary.one("solver_iterations_worst", float(report.iterations.max()), count),
        summary.one("solver_residual_worst", float(report.residual.max()), count),
        summary.one("not_converged_fraction", unfinished, count),
    ]


def _all(converged: Tensor, results: Tensor) -> bool:
    """Whether all inverses converged whose result is finite."""
    return bool(converged[results.flatten(1).isfinite().all(1)].all())


def _median(values: Tensor) -> Tensor:
    return values.quantile(0.5) if len(values) else values.new_tensor(torch.nan)


def _ratio(one: Tensor, other: Tensor) -> float:
    """By IEEE's rules, where Python's raise: inf for x/0, NaN for 0/0."""
    return float(one / other)
