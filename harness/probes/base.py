"""What a probe is given and how it summarises."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.probes.jacobian import Spectra, spectra
from harness.record import Measurement, NumberStatus


@dataclass(frozen=True)
class Inputs:
    """What a trained network is probed on.

    Attributes:
        sets: Name → inputs ``(N, *shape)`` in float32; ``test`` is in distribution.
        data_radius: ``max |x|`` over the training data: the scale against which a sample blew up.
        step: After how many training steps.
    """

    sets: Mapping[str, Tensor]
    data_radius: float
    step: int

    def first(self, points: int) -> tuple[Tensor, dict[str, slice]]:
        """The first ``points`` inputs of every set as one batch, and where in it each set is.

        A network treats inputs apart from each other, and one large batch is one call.
        """
        parts = {name: x[:points] for name, x in self.sets.items()}
        places, begin = {}, 0
        for name, part in parts.items():
            places[name] = slice(begin, begin + len(part))
            begin += len(part)
        return torch.cat(list(parts.values())), places


DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Subject:
    """What a probe measures: a trained network, and what it is measured on.

    What several probes need of the same network is computed once.

    Attributes:
        flow: The network, which no probe changes.
        inputs: What it is probed on.
    """

    def __init__(self, flow: Bijection, inputs: Inputs) -> None:
        self.flow, self.inputs = flow, inputs
        self._copies: dict[str, Bijection] = {}
        self._spectra: dict[int, Spectra] = {}

    def at(self, precision: str) -> Bijection:
        """A copy of the network in a precision, in evaluation mode.

        The weights are rounded to float32 first, so that all precisions run the same weights,
        also those of a network that was trained in float64.
        """
        if precision not in self._copies:
            rounded = copy.deepcopy(self.flow).to(torch.float32)
            self._copies[precision] = rounded.to(DTYPES[precision]).eval()
        return self._copies[precision]

    def spectra(self, points: int) -> Spectra:
        """Of the float64 Jacobians at ``inputs.first(points)``."""
        if points not in self._spectra:
            x, _ = self.inputs.first(points)
            self._spectra[points] = spectra(self.at("float64"), x.double())
        return self._spectra[points]


Probe = Callable[[Subject, torch.Generator], list[Measurement]]
"""A pure function of what it is given."""


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
