"""Reconstruction error x → z → x."""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.precisions import PRECISIONS, USUAL
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary, all_converged, per_sample_norm
from harness.record import Measurement
from harness.registry import entry


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


@entry(version=1)
def reconstruction(*, points: Annotated[int, Field(ge=1)] = 256) -> Probe:
    """Reconstruction error ‖F⁻¹(F(x)) - x‖₂ of each input, in float32 and float64.

    The same weights in both precisions: an error that float64 removes is rounding, one that
    stays is not. On test inputs and on every off-distribution set, up to ``points`` of each.
    An inverse that iterates reports iterations, residual and the fraction that did not converge.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        full, places = subject.inputs.first(points)
        measured = []
        for precision in USUAL:
            x = full.to(PRECISIONS[precision].dtype)
            back, report = await subject.ask(_there_and_back, precision, x)
            errors = per_sample_norm(back - x)
            for name, place in places.items():
                summary = Summary("reconstruction", name, precision, subject.inputs.step)
                ours = Convergence(*(one[place] for one in report))
                ended = replace(summary, converged=all_converged(ours, back[place]))
                measured += [*ended.errors("l2", errors[place]), *_solver(ours, summary)]
        return measured

    return probe


@torch.no_grad()
def _there_and_back(flow: Bijection, x: Tensor) -> tuple[Tensor, Convergence]:
    """``F⁻¹(F(x))``, and how the inverse ended."""
    back, _, report = flow.inverse_with_convergence(flow(x)[0])
    return back, report
