"""How a probe summarises numbers, one of each input, as measurements."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.bijections.base import Convergence
from harness.record import Measurement, NumberStatus


def per_sample_norm(x: Tensor) -> Tensor:
    """``‖x‖₂`` of each sample in float64, ``(B, …) → (B,)``; no square overflows."""
    norms: Tensor = torch.linalg.vector_norm(x.double().flatten(1), dim=1)
    return norms


@dataclass(frozen=True)
class Summary:
    """Summaries of one number per sample as measurements of one probe, set and precision.

    Attributes:
        probe: The probe's name.
        inputs: Name of the set.
        precision: The precision in which the network ran.
        step: After how many training steps.
        converged: Whether every iteration behind the numbers ended at its tolerance; a finite
            number of one that did not has the status ``not_converged``.
    """

    probe: str
    inputs: str
    precision: str
    step: int
    converged: bool = True

    def one(self, metric: str, value: float, count: int) -> Measurement:
        """A single number over ``count`` inputs."""
        measured = Measurement.of(
            self.probe, metric, self.inputs, self.precision, value, count, self.step
        )
        if self.converged or measured.status is not NumberStatus.FINITE:
            return measured
        return replace(measured, status=NumberStatus.NOT_CONVERGED)

    def unsupported(self, metric: str, count: int) -> Measurement:
        """That the network cannot run in this precision: a NaN that says why."""
        measured = self.one(metric, float("nan"), count)
        return replace(measured, status=NumberStatus.UNSUPPORTED)

    def exact(self) -> "Summary":
        """For counts, which are right whether or not an iteration converged."""
        return replace(self, converged=True)

    def errors(self, name: str, errors: Tensor) -> list[Measurement]:
        """Quantiles over the finite errors, and how many are not finite.

        ``<name>_median``, ``<name>_q90``, ``<name>_worst_finite`` are over finite errors only, and
        NaN where none is finite; ``non_finite_fraction`` counts NaN and ±inf over all.
        """
        finite = errors[errors.isfinite()].double()
        if len(finite):
            levels = torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64, device=finite.device)
            median, q90, worst = torch.quantile(finite, levels).tolist()
        else:
            median = q90 = worst = float("nan")
        lost = 1 - len(finite) / len(errors)
        count = len(errors)
        return [
            self.one(f"{name}_median", median, count),
            self.one(f"{name}_q90", q90, count),
            self.one(f"{name}_worst_finite", worst, count),
            self.exact().one("non_finite_fraction", lost, count),
        ]


def all_converged(report: Convergence, results: Tensor) -> bool:
    """Whether the inverse converged for every sample whose result ``(B, …)`` is finite."""
    finite = results.flatten(1).isfinite().all(1)
    return bool(report.converged[finite].all())
