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
from harness.probes.round_trip import (
    CORRECTION_PASSES,
    Further,
    GoOn,
    Trip,
    encode,
    invert_well,
    there_and_back,
)
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary, all_converged, per_sample_norm
from harness.record import Measurement
from harness.registry import entry

SPLIT_IN: tuple[PrecisionName, ...] = ("float32", "tf32")
"""Coarser than float64, and with the same weights: what float64 can solve in their place."""
HALF = (torch.bfloat16, torch.float16)
KNOWN_TO = 0.1
"""How large the error of either part of a split error may be beside it."""


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    points, precisions = parameters["points"], parameters["precisions"]
    # The other round trips, from a latent once, and what came back once more in float64.
    each = 2 * (parameters["round_trips"] - 1) + 2 + 1
    split = CORRECTION_PASSES * sum(one in SPLIT_IN for one in precisions)
    rounded = sum(PRECISIONS[one].dtype in HALF for one in precisions)
    closer = 1 + each * len(precisions) + split + rounded
    fewer = min(points, parameters["closer_points"])
    return int(sets * (points * 2 * len(precisions) + fewer * closer))


@entry(version=2, cost=_cost)
def reconstruction(
    *,
    points: Annotated[int, Field(ge=1)] = 128,
    closer_points: Annotated[int, Field(ge=1)] = 32,
    round_trips: Annotated[int, Field(ge=1)] = 2,
    precisions: WantedPrecisions = USUAL,
) -> Probe:
    """Reconstruction error of each input, ``x' = F⁻¹(F(x))``, in each precision.

    ``l2_*`` is ``‖x' - x‖₂``, ``rms_*`` that over √D, ``linf_*`` the largest entry, ``relative_*``
    ``‖x' - x‖₂ / ‖x‖₂`` (but for x = 0); each as median, 90 % quantile and worst of those that are
    finite. ``non_finite_fraction`` counts the others, ``nan_fraction``, ``plus_inf_fraction`` and
    ``minus_inf_fraction`` say of what kind: x' with a NaN is in the first, else with +inf in the
    second. An inverse that iterates reports iterations, residual and the fraction that did not
    converge. ``rounding_ratio``: the median error over that in float64, of the inputs finite in
    both. Near ε/ε₆₄ (5e8 for float32) it is rounding; near 1 it is the map or its solver. 0/0 is
    NaN.

    Up to ``closer_points`` inputs of each set are looked at closer:

    - ``latent_*``: all of these errors and fractions of ``F(F⁻¹(z)) - z``, where z is F(x) of the
      same inputs in float64, rounded.
    - ``repeated_l2_*`` and ``repeated_non_finite_fraction``: of x after ``round_trips`` of them.
    - ``backward_error_*``: ``‖F(x') - F(x)‖₂``, F in float64: the error as seen in the latents.
      ``amplification_*``: ``‖x' - x‖₂`` over it, at most Lip(F⁻¹): what the inverse makes of it,
      of inputs with ``x' ≠ x``.
    - ``solver_error_*`` and ``conditioning_error_*``, in float32 and tf32: ``‖x' - x*‖₂`` and
      ``‖x* - x‖₂``, with ``F(x*)`` in float64 equal to the computed F(x). The second is what a
      perfect inverse would lose to the rounding on the way there. Either is ``not_converged``
      where it is not known to a tenth of itself (docs/decisions/splitting-errors.md).

    On test inputs and every other set, up to ``points`` of each. The weights are the same in
    float64, float32 and tf32. A precision that the network cannot run in leaves ``l2_median`` with
    the status ``unsupported``. Cost of an input: two passes in each precision. Of one looked at
    closer: a pass more, in each precision ``2 round_trips + 1`` and another in half precision, and
    seven for each of float32 and tf32.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        full, places = subject.inputs.first(points)
        few, fewer = subject.inputs.first(min(points, closer_points))
        rows = torch.cat(
            [torch.arange(place.start, place.stop)[:closer_points] for place in places.values()]
        ).to(full.device)
        exact = await subject.ask(encode, "float64", few.double())
        found: dict[PrecisionName, dict[str, _Errors]] = {}
        measured = []
        for precision in dict.fromkeys(precisions):
            dtype = PRECISIONS[precision].dtype
            x, z = full.to(dtype), exact.to(dtype)
            try:
                trip = await subject.ask(there_and_back, precision, x)
                back = trip.back[rows]
                further = await subject.ask(GoOn(round_trips - 1), precision, back, z)
            except UnsupportedError:
                for name, place in places.items():
                    summary = Summary("reconstruction", name, precision, subject.inputs.step)
                    count = place.stop - place.start
                    measured.append(summary.unsupported("l2_median", count))
                continue
            x64, origin, solved = x[rows].double(), exact, None
            if dtype in HALF:  # where x is rounded
                origin = await subject.ask(encode, "float64", x64)
            seen = await subject.ask(encode, "float64", back.double())
            if precision in SPLIT_IN:
                computed = trip.latent[rows].double()
                solved = await subject.ask(invert_well, "float64", x64, origin, computed)
            found[precision] = {}
            for name, place in places.items():
                ours = fewer[name]
                summary = Summary("reconstruction", name, precision, subject.inputs.step)
                errors = _Errors(summary, x[place], trip.part(place))
                found[precision][name] = errors
                measured += errors.once()
                measured += errors.further(z[ours], further.part(ours), round_trips)
                measured += errors.amplified(seen[ours] - origin[ours])
                if solved is not None:
                    measured += errors.split(solved[0][ours], solved[1][ours])
        for precision, in_it in found.items():
            if precision != "float64" and "float64" in found:
                measured += [in_it[name].against(found["float64"][name]) for name in places]
        return measured

    return probe


class _Errors:
    """What is measured of one set of inputs in one precision; of the first of them, more.

    Args:
        summary: Of which set and precision.
        x: Inputs, in that precision.
        trip: What became of them.
    """

    def __init__(self, summary: Summary, x: Tensor, trip: Trip) -> None:
        self._summary, self._x, self._trip = summary, x.double(), trip
        self._off = trip.back.double() - self._x
        self._l2 = per_sample_norm(self._off)
        self._ended = replace(summary, converged=all_converged(trip.report, trip.back))

    def once(self) -> Iterator[Measurement]:
        """A round trip, and how its solver ended."""
        yield from _norms("", self._ended, self._off, self._x)
        yield from self._summary.overflows("", self._trip.back)
        yield from _solver(self._trip.report, self._summary)

    def further(self, z: Tensor, further: Further, round_trips: int) -> Iterator[Measurement]:
        """From latents z, and all round trips."""
        ended = self._where(further.again_converged, further.again)
        yield from _norms("latent_", ended, further.again.double() - z.double(), z.double())
        yield from ended.overflows("latent_", further.again)
        if round_trips > 1:
            first = self._trip.report.converged[: len(z)]
            ended = self._where(first & further.repeated_converged, further.repeated)
            errors = per_sample_norm(further.repeated.double() - self._x[: len(z)])
            yield from ended.errors("repeated_l2", errors, "repeated_non_finite_fraction")

    def _where(self, converged: Tensor, results: Tensor) -> Summary:
        """With what is known of inverses, of which only finite results count."""
        finite = results.flatten(1).isfinite().all(1)
        return replace(self._summary, converged=bool(converged[finite].all()))

    def amplified(self, seen: Tensor) -> Iterator[Measurement]:
        """What the error is in the latents, ``F(x') - F(x)``, and what the inverse makes of it."""
        backward, error = per_sample_norm(seen), self._l2[: len(seen)]
        yield from _errors("backward_error", self._ended, backward)
        wrong = error != 0
        # However x' came about, F turns this error into that one.
        yield from _errors("amplification", self._summary, error[wrong] / backward[wrong])

    def split(self, solved: Tensor, unknown: Tensor) -> Iterator[Measurement]:
        """What the inverse adds by itself, and what it makes of the rounding on the way there."""
        count = len(solved)
        parts = {
            "solver_error": per_sample_norm(self._trip.back[:count].double() - solved),
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


def _median(values: Tensor) -> Tensor:
    return values.quantile(0.5) if len(values) else values.new_tensor(torch.nan)


def _ratio(one: Tensor, other: Tensor) -> float:
    """By IEEE's rules, where Python's raise: inf for x/0, NaN for 0/0."""
    return float(one / other)
