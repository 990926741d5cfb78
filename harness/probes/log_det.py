"""Whether the log-determinant can be trusted."""

from typing import Annotated

import torch
from pydantic import Field

from harness.bijections.base import Bijection
from harness.probes.base import DTYPES, Inputs, Probe, Summary, all_converged, at_precision
from harness.probes.jacobian import jacobian
from harness.record import Measurement
from harness.registry import entry


@entry(version=1)
def log_det(*, points: Annotated[int, Field(ge=1)] = 32) -> Probe:
    """Log-det against log |det| of the float64 Jacobian, and forward plus inverse log-det.

    ``jacobian_gap``: ``|log_det(x) - log |det J(x)||`` in nats, the log-det in float32 or
    float64, the Jacobian always in float64. ``cycle_gap``: ``|log_det_F(x) + log_det_F⁻¹(F(x))|``.
    """

    def probe(flow: Bijection, inputs: Inputs, generator: torch.Generator) -> list[Measurement]:
        networks = {precision: at_precision(flow, precision) for precision in DTYPES}
        measured = []
        for name, full in inputs.sets.items():
            x = full[:points]
            jacobians, _ = jacobian(networks["float64"], x.double())
            finite = jacobians.flatten(1).isfinite().all(1)
            reference = torch.full(finite.shape, torch.nan, dtype=torch.float64, device=x.device)
            reference[finite] = torch.linalg.slogdet(jacobians[finite]).logabsdet
            for precision, dtype in DTYPES.items():
                with torch.no_grad():
                    z, forward = networks[precision](x.to(dtype))
                    back, backward, report = networks[precision].inverse_with_convergence(z)
                gaps = {
                    "jacobian_gap": (forward.double() - reference).abs(),
                    "cycle_gap": (forward.double() + backward.double()).abs(),
                }
                for metric, gap in gaps.items():
                    converged = metric == "jacobian_gap" or all_converged(report, back)
                    summary = Summary("log_det", name, precision, inputs.step, converged)
                    *quantiles, lost = summary.errors(metric, gap)
                    measured += quantiles
                    measured.append(
                        summary.exact().one(f"{metric}_non_finite_fraction", lost.value, len(x))
                    )
        return measured

    return probe
