"""Whether the log-determinant can be trusted."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.precisions import PRECISIONS, USUAL
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary, all_converged
from harness.record import Measurement
from harness.registry import entry


@entry(version=1)
def log_det(*, points: Annotated[int, Field(ge=1)] = 32) -> Probe:
    """Log-det against log |det| of the float64 Jacobian, and forward plus inverse log-det.

    ``jacobian_gap``: ``|log_det(x) - log |det J(x)||`` in nats, the log-det in float32 or
    float64, the Jacobian always in float64. ``cycle_gap``: ``|log_det_F(x) + log_det_F⁻¹(F(x))|``.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        x, places = subject.inputs.first(points)
        reference = (await subject.spectra(points)).log_abs_det
        found = {
            precision: await subject.ask(
                _gaps, precision, x.to(PRECISIONS[precision].dtype), reference
            )
            for precision in USUAL
        }
        measured = []
        for name, place in places.items():
            for precision, (gaps, report, back) in found.items():
                ended = all_converged(Convergence(*(one[place] for one in report)), back[place])
                for metric, gap in gaps.items():
                    converged = metric == "jacobian_gap" or ended
                    summary = Summary("log_det", name, precision, subject.inputs.step, converged)
                    *quantiles, lost = summary.errors(metric, gap[place])
                    measured += quantiles
                    measured.append(
                        summary.exact().one(
                            f"{metric}_non_finite_fraction", lost.value, len(gap[place])
                        )
                    )
        return measured

    return probe


@torch.no_grad()
def _gaps(
    flow: Bijection, x: Tensor, reference: Tensor
) -> tuple[dict[str, Tensor], Convergence, Tensor]:
    """Both gaps of each input, how its inverse ended, and where."""
    z, forward = flow(x)
    back, backward, report = flow.inverse_with_convergence(z)
    gaps = {
        "jacobian_gap": (forward.double() - reference).abs(),
        "cycle_gap": (forward.double() + backward.double()).abs(),
    }
    return gaps, report, back
