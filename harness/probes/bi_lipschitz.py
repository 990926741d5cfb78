"""Local bi-Lipschitz constants, beside the global bounds."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.probes.jacobian import Spectra
from harness.probes.krylov import Extremes, Krylov
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary
from harness.record import Measurement
from harness.registry import entry

EXACT_UP_TO = 1500
"""Dimensions up to which ``auto`` writes Jacobians out: 18 MiB each."""

Method = Literal["auto", "exact", "lanczos"]


def is_exact(method: Method, dimension: int) -> bool:
    """Whether Jacobians of so many dimensions are written out."""
    return method == "exact" or (method == "auto" and dimension <= EXACT_UP_TO)


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    products = dimension if is_exact(parameters["method"], dimension) else 4 * parameters["steps"]
    return int(parameters["points"] * sets * (1 + 2 * products))


@entry(version=2, cost=_cost)
def bi_lipschitz(
    *,
    points: Annotated[int, Field(ge=1)] = 32,
    method: Method = "auto",
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-2,
    steps: Annotated[int, Field(ge=2)] = 60,
) -> Probe:
    """Local Lipschitz constants by float64 singular values of the Jacobian.

    ``forward_*`` is σ_max(J(x)), ``inverse_*`` is 1/σ_min(J(x)), ``condition_number_*`` their
    product, each as median and worst over the inputs whose Jacobian is finite (the worst is a
    lower bound of the global constant, by Rademacher's theorem). ``bound_forward`` and
    ``bound_inverse`` on inputs ``none`` are the upper bounds from the weights.

    ``exact`` writes the Jacobian out; where some σ_min is below what float64 resolves beside
    σ_max, ``inverse_*`` and ``condition_number_*`` have the status ``not_converged``, and
    ``unresolved_fraction`` counts such inputs. ``lanczos`` takes products with the Jacobians of
    the map and of its inverse (:class:`~harness.probes.krylov.Krylov`), up to ``steps`` of two
    products each; ``forward_error_worst`` and ``inverse_error_worst`` are its relative errors, and
    ``disagreement_worst`` says whether the two maps are inverse to each other there. A number
    whose error or disagreement is above ``tolerance`` is ``not_converged``, and
    ``unresolved_fraction`` counts these inputs. ``auto`` is exact up to 1,500 dimensions.

    ``unresolved_in_float32_fraction``: inputs with ``ε κ ≥ 1``, ε that of float32: there rounding
    σ_max by ε moves σ_min by all of itself (Weyl), so that singular values computed in float32,
    and digits of a float32 inverse, mean nothing.

    Cost of an input: a pass, and two passes for each product: D if exact, else up to 4 a step.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        inputs = subject.inputs
        x, places = inputs.first(points)
        dimension = x[0].numel()
        measured: list[Measurement] = []
        if is_exact(method, dimension):
            spectra = await subject.spectra(points)
            for name, place in places.items():
                summary = Summary("bi_lipschitz", name, "float64", inputs.step)
                part = Spectra(*(one[place] for one in spectra))
                measured += _exact(summary, part, dimension)
        else:
            start = torch.randn(len(x), dimension, generator=generator, dtype=torch.float64)
            krylov = Krylov(tolerance, steps)
            found = await subject.ask(krylov, "float64", x.double(), start.to(x.device))
            for name, place in places.items():
                summary = Summary("bi_lipschitz", name, "float64", inputs.step)
                measured += _iterated(summary, Extremes(*(one[place] for one in found)), tolerance)
        bounds = await subject.bounds()
        overall = Summary("bi_lipschitz", "none", "float64", inputs.step)
        measured.append(overall.one("bound_forward", bounds.forward, 0))
        measured.append(overall.one("bound_inverse", bounds.inverse, 0))
        return measured

    return probe


def _exact(summary: Summary, found: Spectra, dimension: int) -> list[Measurement]:
    finite = found.finite
    largest, smallest = found.largest[finite], found.smallest[finite]
    resolved = found.resolved(dimension)[finite]
    known = replace(summary, converged=bool(resolved.all()))
    return _constants(summary, known, largest, smallest, resolved, len(finite))


def _iterated(summary: Summary, found: Extremes, tolerance: float) -> list[Measurement]:
    finite, count = found.finite, len(found.finite)
    largest, smallest, *errors = (one[finite] for one in found[:5])
    agreed = errors[2] <= tolerance
    ended = (errors[0] <= tolerance) & agreed
    resolved = (errors[1] <= tolerance) & ended
    there = replace(summary, converged=bool(ended.all()))
    known = replace(summary, converged=bool(resolved.all()))
    names = ("forward_error_worst", "inverse_error_worst", "disagreement_worst")
    return [
        *_constants(there, known, largest, smallest, resolved, count),
        *(summary.one(name, _worst(one), count) for name, one in zip(names, errors, strict=True)),
    ]


def _constants(
    forward: Summary,
    inverse: Summary,
    largest: Tensor,
    smallest: Tensor,
    resolved: Tensor,
    count: int,
) -> list[Measurement]:
    """Of the inputs whose Jacobian is finite, of ``count`` inputs."""
    exact = forward.exact()
    condition = largest / smallest
    in_float32 = condition * torch.finfo(torch.float32).eps < 1
    return [
        *_constant("forward", largest, forward, count),
        *_constant("inverse", 1 / smallest, inverse, count),
        *_constant("condition_number", condition, inverse, count),
        exact.one("unresolved_fraction", _share(~resolved), count),
        exact.one("unresolved_in_float32_fraction", _share(~in_float32), count),
        exact.one("non_finite_fraction", 1 - len(largest) / count, count),
    ]


def _constant(metric: str, values: Tensor, summary: Summary, count: int) -> list[Measurement]:
    """Median and worst; inf (σ_min = 0) is a value, and only with no values there is NaN."""
    return [
        summary.one(f"{metric}_median", _median(values), count),
        summary.one(f"{metric}_worst", _worst(values), count),
    ]


def _median(values: Tensor) -> float:
    """The mean of the two in the middle: to interpolate between infinities would give NaN."""
    if not len(values):
        return float("nan")
    ordered, half = values.sort().values, (len(values) - 1) // 2
    low, high = float(ordered[half]), float(ordered[len(values) // 2])
    return low if low == high else (low + high) / 2


def _worst(values: Tensor) -> float:
    return float(values.max()) if len(values) else float("nan")


def _share(flags: Tensor) -> float:
    return float(flags.double().mean()) if len(flags) else float("nan")
