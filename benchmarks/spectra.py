"""Singular values of Jacobians: written out, and by products alone.

One thread, but for the last row, which asks how long a person waits on two. Networks in float64
with perturbed weights: a Glow is the identity's neighbour when it is built. Whatever is compared
must agree, or the benchmark stops.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.rounds import rounds
from benchmarks.row import Row
from harness import registry
from harness.bijections.base import Bijection
from harness.conformance.candidate import perturb
from harness.probes.jacobian import spectra
from harness.probes.krylov import Extremes, Krylov
from harness.registry import Shape
from harness.seeding import generator

TOLERANCE, STEPS = 1e-2, 60
"""The defaults of the probe ``bi_lipschitz``."""

WELL, BADLY = 0.02, 0.1
"""Sizes of the perturbation; the second leaves condition numbers of some dozens."""


def rows(most_rounds: int | None = None) -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    count = min(3, most_rounds or 3)
    try:
        found = [_written_out(count), *(_by_products(size, count) for size in (WELL, BADLY))]
        torch.set_num_threads(2)
        return [*found, _large(count)]
    finally:
        torch.set_num_threads(threads)


def _glow(shape: Shape, size: float, inputs: int) -> tuple[Bijection, Tensor]:
    choice = registry.resolve("architecture", "glow")
    flow: Bijection = registry.build("architecture", choice, shape, generator(0, "spectra"))
    perturb(flow, 0, size)
    x = 0.3 * torch.randn(inputs, *shape, generator=generator(0, "inputs"), dtype=torch.float64)
    return flow.double().eval(), x


def backward_each(flow: Bijection, x: Tensor) -> Tensor:
    """Singular values by one backward pass for each output of each input: ``(B, D)``."""
    found = []
    for one in torch.split(x, 1):
        point = one.clone().requires_grad_()
        outputs = flow(point)[0].flatten()
        jacobian = [
            torch.autograd.grad(output, point, retain_graph=True)[0].flatten() for output in outputs
        ]
        found.append(torch.linalg.svdvals(torch.stack(jacobian)))
    return torch.stack(found)


def _written_out(count: int) -> Row:
    flow, x = _glow((1, 8, 8), BADLY, 64)
    exact, slow = spectra(flow, x[:2]), backward_each(flow, x[:2])
    _agree(exact.largest, slow[:, 0], 1e-9)
    _agree(exact.smallest, slow[:, -1], 1e-9)
    works: dict[str, Callable[[], object]] = {
        "ours": partial(spectra, flow, x),
        "theirs": partial(backward_each, flow, x),
    }
    return _row(
        "spectra of 64 inputs", "a backward pass each output", "Glow, 64-D", works, count, 10.0
    )


def _by_products(size: float, count: int) -> Row:
    flow, x = _glow((1, 28, 28), size, 4)
    exact, found = spectra(flow, x), _lanczos(flow, x)
    _agree(found.largest, exact.largest, TOLERANCE)
    _agree(found.smallest, exact.smallest, TOLERANCE)
    condition = float((exact.largest / exact.smallest).max())
    works: dict[str, Callable[[], object]] = {
        "ours": partial(_lanczos, flow, x),
        "theirs": partial(spectra, flow, x),
    }
    setting = f"Glow, 784-D, 4 inputs, κ ≤ {condition:.2g}"
    return _row("Lanczos, within 1 %", "written out", setting, works, count, 5.0)


def _large(count: int) -> Row:
    flow, x = _glow((3, 32, 32), BADLY, 1)
    found = _lanczos(flow, x)
    worst = max(float(error.max()) for error in found[2:5])
    if not worst <= TOLERANCE:
        raise AssertionError(f"3,072 dimensions: off by up to {worst}")
    times = rounds("spectra, Glow, 3072-D", {"ours": lambda: _lanczos(flow, x)}, count)
    return Row(
        group="spectra",
        subject="Lanczos, both ends, one input",
        contender="(seconds)",
        setting="Glow, 3072-D, 2 threads",
        members=1,
        unit="s",
        values=tuple(taken["ours"] for taken in times),
        target=60.0,
        better="lower",
    )


def _lanczos(flow: Bijection, x: Tensor) -> Extremes:
    start = torch.randn(
        len(x), math.prod(x.shape[1:]), generator=generator(0, "start"), dtype=torch.float64
    )
    return Krylov(TOLERANCE, STEPS)(flow, x, start)


def _agree(found: Tensor, right: Tensor, tolerance: float) -> None:
    off = float(((found - right) / right).abs().max())
    if not off <= tolerance:
        raise AssertionError(f"singular values differ by {off} of themselves")


def _row(
    subject: str,
    contender: str,
    setting: str,
    works: dict[str, Callable[[], object]],
    count: int,
    target: float,
) -> Row:
    times = rounds(f"spectra, {setting}", works, count)
    return Row(
        group="spectra",
        subject=subject,
        contender=contender,
        setting=setting,
        members=1,
        unit="×",
        values=tuple(taken["theirs"] / taken["ours"] for taken in times),
        target=target,
    )
