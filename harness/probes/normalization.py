"""Whether the density that a network states has the mass 1."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.likelihood import exact_log_likelihood, normal_log_density
from harness.precisions import PRECISIONS, PrecisionName, UnsupportedError, WantedPrecisions
from harness.probes.bi_lipschitz import EXACT_UP_TO
from harness.probes.jacobian import LARGEST, jacobian
from harness.probes.quadrature import integrate
from harness.probes.region import Region
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary
from harness.record import Measurement
from harness.registry import entry

BY_QUADRATURE_UP_TO = 2
"""Dimensions; above, points of a grid are too many."""

FEWEST_EFFECTIVE = 10
"""As many samples, weighed, are the least that an average is of."""

LEAST_EFFECTIVE = 0.1
"""Of importance samples: where fewer count, their mean is that of a few."""


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    precisions = len(parameters["precisions"])
    if dimension <= BY_QUADRATURE_UP_TO:
        return int(parameters["evaluations"] * precisions)
    if dimension > EXACT_UP_TO:
        return 0
    return int(parameters["samples"] * (1 + 2 * dimension + precisions))


@entry(version=1, cost=_cost)
def normalization(
    *,
    tolerance: Annotated[float, Field(gt=0)] = 1e-3,
    evaluations: Annotated[int, Field(ge=4096)] = 50_000,
    times: Annotated[float, Field(gt=0)] = 2.0,
    samples: Annotated[int, Field(ge=2)] = 128,
    precisions: WantedPrecisions = ["float64"],  # noqa: B006 - only read
) -> Probe:
    """``∫ p(x) dx`` of ``p(x) = N(F(x); 0, I) |det J_F(x)|``, with its error: a check of log-det.

    It is 1 for any injective F whose log-det is right, however ill-conditioned: it does not detect
    that F⁻¹ breaks.

    In one and two dimensions, on inputs ``wide_box``: adaptive Gauss-Legendre quadrature over the
    least box around the training data with sides ``times`` as long, until the levels differ by
    ``tolerance`` or ``evaluations`` are spent. ``integral``; ``integral_error``, by how much the
    last halving of the cells moved it; ``edge_mass``, the share in the outer eighth of the box on
    each side: where it is not small, mass lies outside, and an integral below 1 is no fault.
    ``non_finite_fraction``: at how many points p is not finite; they count as 0. The integral is
    ``not_converged`` where its error is above the tolerance, or such points are there, or it is 0:
    a density that lies between the points is not seen.

    Above, on inputs ``samples``: importance sampling ``E_q[p/q]``. The proposal q is the density
    of F⁻¹(z), z standard normal, by the determinant of its float64 Jacobian, which no log-det of
    the network enters. ``integral``; ``integral_error``, its standard error;
    ``effective_sample_fraction``, ``(Σw)² / (n Σw²)`` of the weights; ``non_finite_fraction``, of
    samples whose weight is not finite, which count as 0. The integral is ``not_converged`` where
    the effective fraction is below 0.1 or fewer than 10 samples, or weights are lost. It sees what
    is wrong where the network samples, and there alone. Above 1,500 dimensions, where no Jacobian
    is written out, ``integral`` is ``unsupported``, as in a precision in which the network does not
    run.

    The network and its log-det run in each precision, sums in float64. Cost: at most
    ``evaluations`` passes a precision; of each sample a pass, D products with the Jacobian, and a
    pass for each precision.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        inputs = subject.inputs
        dimension = inputs.lowest.numel()
        name = "wide_box" if dimension <= BY_QUADRATURE_UP_TO else "samples"
        drawn = None
        if BY_QUADRATURE_UP_TO < dimension <= EXACT_UP_TO:
            z = torch.randn(samples, dimension, generator=generator, dtype=torch.float64)
            drawn = await subject.ask(_proposed, "float64", z.to(inputs.lowest.device))
        measured = []
        for precision in dict.fromkeys(precisions):
            summary = Summary("normalization", name, precision, inputs.step)
            try:
                if dimension <= BY_QUADRATURE_UP_TO:
                    box = _wide(inputs.box, times)
                    measured += await _by_quadrature(subject, summary, box, tolerance, evaluations)
                elif drawn is not None:
                    measured += await _by_samples(subject, summary, *drawn)
                else:
                    measured.append(summary.unsupported("integral", 0))
            except UnsupportedError:
                measured.append(summary.unsupported("integral", 0))
        return measured

    return probe


def _wide(box: Box, times: float) -> Box:
    """The box with longer sides; one in which the data are all alike has those of the others."""
    half = (box.upper - box.lower) / 2
    longest = float(half.max())
    half = torch.where(half > 0, half, longest if longest > 0 else 1.0)
    centre = (box.lower + box.upper) / 2
    return Region.around("box", Box(centre - half, centre + half), times).box


def _as(x: Tensor, precision: PrecisionName) -> Tensor:
    return x.to(PRECISIONS[precision].dtype)


async def _by_quadrature(
    subject: Subject, summary: Summary, box: Box, tolerance: float, evaluations: int
) -> list[Measurement]:
    shape, precision = box.lower.shape, _named(summary)

    async def density(x: Tensor) -> Tensor:
        x = _as(x.view(-1, *shape), precision)
        logs = await subject.ask(exact_log_likelihood, precision, x)
        return logs.exp()

    flat = Box(box.lower.flatten(), box.upper.flatten())
    found = await integrate(density, flat, tolerance, evaluations)
    # Where nothing is seen, all of it lies between the points.
    known = tolerance < found.value and found.error <= tolerance and not found.lost
    integral = replace(summary, converged=known)
    return [
        integral.one("integral", found.value, found.points),
        summary.one("integral_error", found.error, found.points),
        integral.one("edge_mass", found.edge, found.points),
        summary.one("non_finite_fraction", found.lost / found.points, found.points),
    ]


async def _by_samples(
    subject: Subject, summary: Summary, x: Tensor, log_proposal: Tensor
) -> list[Measurement]:
    precision, count = _named(summary), len(x)
    logs = await subject.ask(exact_log_likelihood, precision, _as(x, precision)) - log_proposal
    # A weight of 0 is one; inf and NaN are none.
    finite = logs.isfinite() | (logs == -math.inf)
    log_weights = torch.where(finite, logs, -math.inf)
    largest = log_weights.max()
    weights = (log_weights - (largest if largest.isfinite() else 0.0)).exp()
    scale = float(largest.exp()) if largest.isfinite() else 1.0
    total, squares = float(weights.sum()), float((weights * weights).sum())
    effective = total**2 / (count * squares) if squares else 0.0
    lost = int((~finite).sum())
    enough = effective >= LEAST_EFFECTIVE and effective * count >= FEWEST_EFFECTIVE
    known = replace(summary, converged=enough and not lost)
    return [
        known.one("integral", scale * total / count, count),
        known.one("integral_error", scale * float(weights.std()) / math.sqrt(count), count),
        summary.one("effective_sample_fraction", effective, count),
        summary.one("non_finite_fraction", lost / count, count),
    ]


def _named(summary: Summary) -> PrecisionName:
    return summary.precision  # type: ignore[return-value]


def _proposed(network: Bijection, z: Tensor) -> tuple[Tensor, Tensor]:
    """``x = F⁻¹(z)`` and the log of their density: ``log N(z) - log |det J_F⁻¹(z)|``."""
    with torch.no_grad():
        x, _ = network.inverse(z)
    at_a_time = max(1, LARGEST // z[0].numel() ** 2)
    matrices = (jacobian(network.inverse, part) for part in torch.split(z, at_a_time))
    stretched = torch.cat([torch.linalg.slogdet(one).logabsdet for one in matrices])
    return x, normal_log_density(z) - stretched
