"""How a probe summarises numbers, one of each input, as measurements."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.bijections.base import Convergence
from harness.gradients.comparison import scaled_norm
from harness.record import Measurement, NumberStatus


def per_sample_norm(x: Tensor) -> Tensor:
    """``‖x‖₂`` of each sample in float64, ``(B, …) → (B,)``; no square overflows."""
    return scaled_norm(x.double().flatten(1))


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

    def errors(
        self, name: str, errors: Tensor, fraction: str = "non_finite_fraction"
    ) -> list[Measurement]:
        """:meth:`quantiles`, and the fraction of NaN and ±inf; NaN of no errors."""
        lost = float((~errors.isfinite()).double().mean())
        return [*self.quantiles(name, errors), self.exact().one(fraction, lost, len(errors))]

    def quantiles(self, name: str, values: Tensor) -> list[Measurement]:
        """``<name>_median``, ``<name>_q90``, ``<name>_worst_finite`` over the finite values.

        NaN where none is finite.
        """
        finite = values[values.isfinite()].double()
        if len(finite):
            levels = torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64, device=finite.device)
            median, q90, worst = torch.quantile(finite, levels).tolist()
        else:
            median = q90 = worst = float("nan")
        return [
            self.one(f"{name}_median", median, len(values)),
            self.one(f"{name}_q90", q90, len(values)),
            self.one(f"{name}_worst_finite", worst, len(values)),
        ]

    def overflows(self, prefix: str, x: Tensor) -> list[Measurement]:
        """Of how many samples ``(B, …)`` is one NaN, else +inf, else -inf.

        ``<prefix>nan_fraction``, ``<prefix>plus_inf_fraction``, ``<prefix>minus_inf_fraction``: a
        sample with several counts once, in the first of this order, so that they add up to the
        fraction of samples that are not finite.
        """
        flat = x.flatten(1)
        nan = flat.isnan().any(1)
        plus = flat.isposinf().any(1) & ~nan
        minus = flat.isneginf().any(1) & ~nan & ~plus
        named = {"nan": nan, "plus_inf": plus, "minus_inf": minus}
        return [
            self.exact().one(f"{prefix}{name}_fraction", int(one.sum()) / len(x), len(x))
            for name, one in named.items()
        ]


def all_converged(report: Convergence, results: Tensor) -> bool:
    """Whether the inverse converged for every sample whose result ``(B, …)`` is finite."""
    finite = results.flatten(1).isfinite().all(1)
    return bool(report.converged[finite].all())
