"""Samples from the latent, at temperatures."""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field

from harness.bijections.base import Bijection
from harness.probes.base import (
    DTYPES,
    Inputs,
    Probe,
    Summary,
    all_converged,
    at_precision,
    per_sample_norm,
)
from harness.record import Measurement
from harness.registry import entry

TEMPERATURES = (1, 2, 3)


@entry(version=1)
def sampling(
    *,
    samples: Annotated[int, Field(ge=1)] = 256,
    blown_up_at: Annotated[float, Field(gt=1)] = 100.0,
) -> Probe:
    """Samples ``x = F⁻¹(z)`` with ``z ~ N(0, T² I)``, T = 1, 2, 3, in float32 and float64.

    ``blown_up_fraction``: the fraction with a non-finite entry or with ``max |x|`` beyond
    ``blown_up_at`` times the largest training value. ``re_encoding_l2_*``: ``‖F(x) - z‖₂``.
    The inputs are named ``temperature_1`` and so on; z is the same in both precisions.
    """

    def probe(flow: Bijection, inputs: Inputs, generator: torch.Generator) -> list[Measurement]:
        dimension = inputs.sets["test"][0].numel()
        noise = torch.randn(samples, dimension, generator=generator, dtype=torch.float64)
        limit = blown_up_at * inputs.data_radius
        measured = []
        for precision, dtype in DTYPES.items():
            converted = at_precision(flow, precision)
            for temperature in TEMPERATURES:
                z = (temperature * noise).to(inputs.sets["test"].device, dtype)
                with torch.no_grad():
                    x, _, report = converted.inverse_with_convergence(z)
                    again, _ = converted(x)
                # Written so that NaN counts as blown up.
                fine = x.flatten(1).abs().amax(1) <= limit
                summary = Summary("sampling", f"temperature_{temperature}", precision, inputs.step)
                blown_up = 1 - float(fine.double().mean())
                measured.append(summary.one("blown_up_fraction", blown_up, samples))
                error = per_sample_norm(again - z)
                summary = replace(summary, converged=all_converged(report, x))
                measured += summary.errors("re_encoding_l2", error)
        return measured

    return probe
