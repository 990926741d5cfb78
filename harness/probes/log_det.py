"""Whether the log-determinant can be trusted."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.bijections.likelihood import exact_log_likelihood, normal_log_density
from harness.precisions import PRECISIONS, USUAL, PrecisionName, UnsupportedError, WantedPrecisions
from harness.probes.bi_lipschitz import EXACT_UP_TO
from harness.probes.jacobian import spectra
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary, all_converged
from harness.record import Measurement
from harness.registry import entry

Gaps = tuple[dict[str, Tensor], Convergence, Tensor]


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    """The Jacobian, there and back in each precision, and once in float64."""
    exact = 1 + 2 * dimension if dimension <= EXACT_UP_TO else 0
    return int(parameters["points"] * sets * (exact + 2 * len(parameters["precisions"]) + 1))


@entry(version=2, cost=_cost)
def log_det(
    *,
    points: Annotated[int, Field(ge=1)] = 32,
    precisions: WantedPrecisions = USUAL,
) -> Probe:
    """Log-det against log |det| of the float64 Jacobian, and forward plus inverse log-det.

    ``jacobian_gap``: ``|log_det(x) - log |det J(x)||`` in nats, the log-det in each precision,
    the Jacobian always in float64. ``cycle_gap``: ``|log_det_F(x) + log_det_F⁻¹(F(x))|``.
    ``likelihood_gap_bits_per_dim``: ``|log p(x) - log p_64(x)| / (D ln 2)``, of each precision
    but float64, with F and its log-det in that precision and their sum in float64.

    Where float64 does not resolve some σ_min of a set, ``jacobian_gap`` is ``not_converged``: the
    determinant is then rounding, whatever the log-det.

    Above 1,500 dimensions no Jacobian is written out, and ``jacobian_gap_median`` is
    ``unsupported``. So are all three medians in a precision in which the network does not run.

    Cost of an input: a pass and D products with the Jacobian, two passes in each precision, and
    one in float64.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        x, places = subject.inputs.first(points)
        dimension = x[0].numel()
        exact = dimension <= EXACT_UP_TO
        known = await subject.spectra(points) if exact else None
        likelihood = await subject.ask(exact_log_likelihood, "float64", x.double())
        found, resolved = {}, {}
        for one in dict.fromkeys(precisions):
            truth, right, rounded = known, likelihood, x.to(PRECISIONS[one].dtype).double()
            if not torch.equal(rounded, x.double()):  # in half precision, of what it is given
                truth = await subject.ask(spectra, "float64", rounded) if exact else None
                right = await subject.ask(exact_log_likelihood, "float64", rounded)
            log_det = truth.log_abs_det if truth else None
            found[one] = await _asked(subject, one, x, log_det, right)
            resolved[one] = truth.resolved(dimension) | ~truth.finite if truth else None
        measured = []
        for name, place in places.items():
            for precision, answer in found.items():
                summary = Summary("log_det", name, precision, subject.inputs.step)
                count = place.stop - place.start
                wanted = [metric for metric in _METRICS if metric not in _absent(precision)]
                if answer is None:
                    measured += [summary.unsupported(f"{one}_median", count) for one in wanted]
                    continue
                if not exact:
                    measured.append(summary.unsupported("jacobian_gap_median", count))
                sure = resolved[precision]
                all_sure = sure is None or bool(sure[place].all())
                measured += _summarized(summary, answer, place, resolved=all_sure)
        return measured

    return probe


_METRICS = ("jacobian_gap", "cycle_gap", "likelihood_gap_bits_per_dim")


def _absent(precision: PrecisionName) -> tuple[str, ...]:
    """What is not asked of a precision: how far it is from itself."""
    return ("likelihood_gap_bits_per_dim",) if precision == "float64" else ()


async def _asked(
    subject: Subject,
    precision: PrecisionName,
    x: Tensor,
    truth: Tensor | None,
    likelihood: Tensor,
) -> Gaps | None:
    """The gaps of each input, how its inverse ended, and where; None where it cannot run."""
    try:
        z, forward, backward, report, back = await subject.ask(
            _there_and_back, precision, x.to(PRECISIONS[precision].dtype)
        )
    except UnsupportedError:
        return None
    gaps = {"cycle_gap": (forward + backward).abs()}
    if truth is not None:
        gaps["jacobian_gap"] = (forward - truth).abs()
    if not _absent(precision):
        ours = normal_log_density(z) + forward
        gaps["likelihood_gap_bits_per_dim"] = (ours - likelihood).abs() / (
            x[0].numel() * math.log(2)
        )
    return gaps, Convergence(*report), back


@torch.no_grad()
def _there_and_back(
    flow: Bijection, x: Tensor
) -> tuple[Tensor, Tensor, Tensor, Convergence, Tensor]:
    """``F(x)`` and both log-dets in float64, how the inverse ended, and where."""
    z, forward = flow(x)
    back, backward, report = flow.inverse_with_convergence(z)
    return z.double(), forward.double(), backward.double(), report, back


def _summarized(
    summary: Summary, answer: Gaps, place: slice, *, resolved: bool
) -> list[Measurement]:
    gaps, report, back = answer
    ended = all_converged(Convergence(*(one[place] for one in report)), back[place])
    measured = []
    for metric, gap in gaps.items():
        # Of the three, one alone takes the inverse, and one alone the Jacobian's determinant.
        sure = {"cycle_gap": ended, "jacobian_gap": resolved}.get(metric, True)
        known = replace(summary, converged=sure)
        measured += known.errors(metric, gap[place], f"{metric}_non_finite_fraction")
    return measured
