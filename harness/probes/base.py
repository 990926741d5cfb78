"""What a probe is given and how it summarises."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.results.record import Measurement


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


Probe = Callable[[Bijection, Inputs, torch.Generator], list[Measurement]]
"""A pure function: it copies the network before it changes its precision."""

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def at_precision(flow: Bijection, precision: str) -> Bijection:
    """A copy of the network with the same weights in another precision, in evaluation mode."""
    return copy.deepcopy(flow).to(DTYPES[precision]).eval()


def per_sample_norm(x: Tensor) -> Tensor:
    """``‖x‖₂`` of each sample in float64, ``(B, …) → (B,)``; no square overflows."""
    norms: Tensor = torch.linalg.vector_norm(x.double().flatten(1), dim=1)
    return norms


@dataclass(frozen=True)
class Summary:
    """Summaries of one number per sample as measurements of one probe, set and precision."""

    probe: str
    inputs: str
    precision: str
    step: int

    def one(self, metric: str, value: float, count: int) -> Measurement:
        """A single number over ``count`` inputs."""
        return Measurement.of(
            self.probe, metric, self.inputs, self.precision, value, count, self.step
        )

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
            self.one("non_finite_fraction", lost, count),
        ]
