"""Samples from the latent, at temperatures."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.precisions import PRECISIONS, USUAL, UnsupportedError, WantedPrecisions
from harness.probes.subject import Inputs, Probe, Subject
from harness.probes.summary import Summary, all_converged, per_sample_norm
from harness.record import Measurement
from harness.registry import entry

WantedTemperatures = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    kinds = len(parameters["temperatures"]) * len(parameters["precisions"])
    return int(2 * parameters["samples"] * kinds)


@entry(version=2, cost=_cost)
def sampling(
    *,
    samples: Annotated[int, Field(ge=1)] = 256,
    temperatures: WantedTemperatures = [1.0, 2.0, 3.0],  # noqa: B006 - only read
    blown_up_at: Annotated[float, Field(gt=1)] = 100.0,
    margin: Annotated[float, Field(ge=0)] = 0.1,
    precisions: WantedPrecisions = USUAL,
) -> Probe:
    """Samples ``x = F⁻¹(z)`` with ``z ~ N(0, T² I)`` at each temperature T, in each precision.

    The inputs are named ``temperature_1`` and so on; z is the same in all precisions. Of the
    samples:

    - ``non_finite_fraction``: with a NaN or ±inf; ``nan_fraction``, ``plus_inf_fraction``,
      ``minus_inf_fraction``: by kind, one with several in the first of these.
    - ``blown_up_fraction``: with a non-finite entry or with ``max |x|`` beyond ``blown_up_at``
      times the largest training value.
    - ``range_distance_l2_*`` and ``range_distance_linf_*``: ``‖max(l - x, 0, x - h)‖``, the
      distance to the smallest box that holds the training data, ``[l, h]`` of each entry.
    - ``out_of_range_fraction``: with an entry outside the box by more than ``margin``, in units of
      half the range of all training data; NaN is outside.
    - ``re_encoding_l2_*``: ``‖F(x) - z‖₂``, and ``re_encoding_non_finite_fraction``.

    Quantiles are of the finite numbers. A precision that the network cannot run in leaves
    ``blown_up_fraction`` with the status ``unsupported``. Cost of a sample: two passes in each
    precision.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        inputs, test = subject.inputs, subject.inputs.sets["test"]
        wanted = list(dict.fromkeys(temperatures))
        noise = torch.randn(samples, test[0].numel(), generator=generator, dtype=torch.float64)
        full = torch.cat([temperature * noise for temperature in wanted]).to(test.device)
        limits = _Limits(inputs, blown_up_at, margin)
        measured: list[Measurement] = []
        for precision in dict.fromkeys(precisions):
            z = full.to(PRECISIONS[precision].dtype)
            named = {
                _name(temperature): slice(number * samples, (number + 1) * samples)
                for number, temperature in enumerate(wanted)
            }
            try:
                x, again, report = await subject.ask(_back_and_there, precision, z)
            except UnsupportedError:
                for name in named:
                    summary = Summary("sampling", name, precision, inputs.step)
                    measured.append(summary.unsupported("blown_up_fraction", samples))
                continue
            error = per_sample_norm(again.double() - z.double())
            for name, place in named.items():
                summary = Summary("sampling", name, precision, inputs.step)
                ours = Convergence(*(one[place] for one in report))
                ended = replace(summary, converged=all_converged(ours, x[place]))
                measured += limits.measured(x[place], ended)
                measured += ended.errors(
                    "re_encoding_l2", error[place], "re_encoding_non_finite_fraction"
                )
        return measured

    return probe


def _name(temperature: float) -> str:
    return f"temperature_{repr(float(temperature)).removesuffix('.0')}"


class _Limits:
    """Which samples are far from the training data.

    Args:
        inputs: With the range of each entry.
        blown_up_at: How many times the largest training value is too much.
        margin: How far outside its range an entry may be, in units of half of all data's range.
    """

    def __init__(self, inputs: Inputs, blown_up_at: float, margin: float) -> None:
        self._lowest, self._highest = inputs.lowest.double(), inputs.highest.double()
        self._limit = blown_up_at * inputs.data_radius
        self._margin = margin * float(self._highest.max() - self._lowest.min()) / 2

    def measured(self, x: Tensor, ended: Summary) -> Iterator[Measurement]:
        """Of samples ``(B, *shape)``."""
        # Both comparisons are written so that NaN counts as far.
        x = x.double()
        exact, count = ended.exact(), len(x)
        outside = torch.maximum(self._lowest - x, x - self._highest).clamp(min=0).flatten(1)
        farthest = outside.amax(1)
        fractions = {
            "non_finite_fraction": ~x.flatten(1).isfinite().all(1),
            "blown_up_fraction": ~(x.flatten(1).abs().amax(1) <= self._limit),
            "out_of_range_fraction": ~(farthest <= self._margin),
        }
        for name, flags in fractions.items():
            yield exact.one(name, int(flags.sum()) / count, count)
        yield from exact.overflows("", x)
        yield from ended.quantiles("range_distance_l2", per_sample_norm(outside))
        yield from ended.quantiles("range_distance_linf", farthest)


@torch.no_grad()
def _back_and_there(flow: Bijection, z: Tensor) -> tuple[Tensor, Tensor, Convergence]:
    """``F⁻¹(z)``, ``F(F⁻¹(z))``, and how the inverse ended."""
    x, _, report = flow.inverse_with_convergence(z)
    return x, flow(x)[0], report
