"""Reconstruction error x → z → x."""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.probes.base import (
    DTYPES,
    Inputs,
    Probe,
    Summary,
    all_converged,
    at_precision,
    per_sample_norm,
)
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


@torch.no_grad()
def _measure(flow: Bijection, x: Tensor, summary: Summary) -> list[Measurement]:
    z, _ = flow(x)
    back, _, report = flow.inverse_with_convergence(z)
    errors = replace(summary, converged=all_converged(report, back))
    return [*errors.errors("l2", per_sample_norm(back - x)), *_solver(report, summary)]


@entry(version=1)
def reconstruction(*, points: Annotated[int, Field(ge=1)] = 256) -> Probe:
    """Reconstruction error ‖F⁻¹(F(x)) - x‖₂ of each input, in float32 and float64.

    The same weights in both precisions: an error that float64 removes is rounding, one that
    stays is not. On test inputs and on every off-distribution set, up to ``points`` of each.
    An inverse that iterates reports iterations, residual and the fraction that did not converge.
    """

    def probe(flow: Bijection, inputs: Inputs, generator: torch.Generator) -> list[Measurement]:
        measured = []
        for precision, dtype in DTYPES.items():
            converted = at_precision(flow, precision)
            for name, x in inputs.sets.items():
                summary = Summary("reconstruction", name, precision, inputs.step)
                measured += _measure(converted, x[:points].to(dtype), summary)
        return measured

    return probe
