"""Samples from the latent, at temperatures."""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.precisions import PRECISIONS, USUAL
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary, all_converged, per_sample_norm
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

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        test, step = subject.inputs.sets["test"], subject.inputs.step
        noise = torch.randn(samples, test[0].numel(), generator=generator, dtype=torch.float64)
        full = torch.cat([temperature * noise for temperature in TEMPERATURES]).to(test.device)
        limit = blown_up_at * subject.inputs.data_radius
        measured = []
        for precision in USUAL:
            z = full.to(PRECISIONS[precision].dtype)
            x, again, report = await subject.ask(_back_and_there, precision, z)
            error = per_sample_norm(again - z)
            # Written so that NaN counts as blown up.
            fine = x.flatten(1).abs().amax(1) <= limit
            for number, temperature in enumerate(TEMPERATURES):
                place = slice(number * samples, (number + 1) * samples)
                summary = Summary("sampling", f"temperature_{temperature}", precision, step)
                blown_up = 1 - float(fine[place].double().mean())
                measured.append(summary.one("blown_up_fraction", blown_up, samples))
                ours = Convergence(*(one[place] for one in report))
                summary = replace(summary, converged=all_converged(ours, x[place]))
                measured += summary.errors("re_encoding_l2", error[place])
        return measured

    return probe


@torch.no_grad()
def _back_and_there(flow: Bijection, z: Tensor) -> tuple[Tensor, Tensor, Convergence]:
    """``F⁻¹(z)``, ``F(F⁻¹(z))``, and how the inverse ended."""
    x, _, report = flow.inverse_with_convergence(z)
    return x, flow(x)[0], report
