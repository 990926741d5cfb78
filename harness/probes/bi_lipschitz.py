"""Local bi-Lipschitz constants, beside the global bounds."""

from typing import Annotated

import torch
from pydantic import Field

from harness.bijections.base import Bijection
from harness.probes.base import Inputs, Probe, Summary, at_precision
from harness.probes.jacobian import jacobian, singular_values
from harness.registry import entry
from harness.results.record import Measurement


@entry(version=1)
def bi_lipschitz(*, points: Annotated[int, Field(ge=1)] = 32) -> Probe:
    """Exact local Lipschitz constants by float64 singular values of the Jacobian.

    ``forward_*`` is σ_max(J(x)), ``inverse_*`` is 1/σ_min(J(x)), ``condition_number_*`` their
    product, each as median and worst over the inputs whose Jacobian is finite (the worst is a
    lower bound of the global constant, by Rademacher's theorem); ``bound_forward`` and
    ``bound_inverse`` on inputs ``none`` are the upper bounds from the weights. Cost: D
    vector-Jacobian products and one SVD an input.
    """

    def probe(flow: Bijection, inputs: Inputs, generator: torch.Generator) -> list[Measurement]:
        double = at_precision(flow, "float64")
        measured = []
        for name, x in inputs.sets.items():
            summary = Summary("bi_lipschitz", name, "float64", inputs.step)
            jacobians, _ = jacobian(double, x[:points].double())
            largest, smallest = singular_values(jacobians)
            constants = {
                "forward": largest,
                "inverse": 1 / smallest,
                "condition_number": largest / smallest,
            }
            count = len(jacobians)
            for metric, values in constants.items():
                # inf (σ_min = 0) is a value here; only Jacobians that are not finite are left out.
                median = float(values.median()) if len(values) else float("nan")
                worst = float(values.max()) if len(values) else float("nan")
                measured.append(summary.one(f"{metric}_median", median, count))
                measured.append(summary.one(f"{metric}_worst", worst, count))
            lost = 1 - len(largest) / count
            measured.append(summary.one("non_finite_fraction", lost, count))
        bounds = double.bounds()
        overall = Summary("bi_lipschitz", "none", "float64", inputs.step)
        measured.append(overall.one("bound_forward", bounds.forward, 0))
        measured.append(overall.one("bound_inverse", bounds.inverse, 0))
        return measured

    return probe
