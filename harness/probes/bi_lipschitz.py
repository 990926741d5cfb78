"""Local bi-Lipschitz constants, beside the global bounds."""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary
from harness.record import Measurement
from harness.registry import entry


def _constant(metric: str, values: Tensor, summary: Summary, count: int) -> list[Measurement]:
    """Median and worst; inf (σ_min = 0) is a value, and only with no values there is NaN."""
    median = float(values.quantile(0.5)) if len(values) else float("nan")
    worst = float(values.max()) if len(values) else float("nan")
    return [
        summary.one(f"{metric}_median", median, count),
        summary.one(f"{metric}_worst", worst, count),
    ]


@entry(version=1)
def bi_lipschitz(*, points: Annotated[int, Field(ge=1)] = 32) -> Probe:
    """Local Lipschitz constants by float64 singular values of the Jacobian.

    ``forward_*`` is σ_max(J(x)), ``inverse_*`` is 1/σ_min(J(x)), ``condition_number_*`` their
    product, each as median and worst over the inputs whose Jacobian is finite (the worst is a
    lower bound of the global constant, by Rademacher's theorem). Where some σ_min is below what
    float64 resolves beside σ_max, ``inverse_*`` and ``condition_number_*`` have the status
    ``not_converged``, and ``unresolved_fraction`` counts such inputs. ``bound_forward`` and
    ``bound_inverse`` on inputs ``none`` are the upper bounds from the weights. Cost: D
    vector-Jacobian products and one SVD an input.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        inputs = subject.inputs
        x, places = inputs.first(points)
        found, dimension = await subject.spectra(points), x[0].numel()
        measured = []
        for name, place in places.items():
            summary = Summary("bi_lipschitz", name, "float64", inputs.step)
            finite = found.finite[place]
            largest, smallest = found.largest[place][finite], found.smallest[place][finite]
            count = len(finite)
            # Singular values are known to within about D·ε·σ_max: a smaller σ_min is rounding,
            # and 1/σ_min no more than the size from which on nothing is resolved.
            resolution = dimension * torch.finfo(torch.float64).eps * largest
            resolved = smallest > resolution
            known = replace(summary, converged=bool(resolved.all()))
            measured += _constant("forward", largest, summary, count)
            measured += _constant("inverse", 1 / smallest, known, count)
            measured += _constant("condition_number", largest / smallest, known, count)
            unresolved = float((~resolved).double().mean()) if len(resolved) else float("nan")
            measured.append(summary.one("unresolved_fraction", unresolved, count))
            lost = 1 - len(largest) / count
            measured.append(summary.one("non_finite_fraction", lost, count))
        bounds = await subject.bounds()
        overall = Summary("bi_lipschitz", "none", "float64", inputs.step)
        measured.append(overall.one("bound_forward", bounds.forward, 0))
        measured.append(overall.one("bound_inverse", bounds.inverse, 0))
        return measured

    return probe
