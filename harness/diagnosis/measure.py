"""All probes on one network, one after the other; what raises is a line and no end."""

import copy
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.datasets.base import Dataset, Splits
from harness.datasets.off_distribution import off_distribution
from harness.diagnosis.data import Given
from harness.diagnosis.findings import Findings
from harness.diagnosis.network import Network, forgotten, numbered
from harness.measuring.lockstep import in_lockstep
from harness.measuring.networks import Networks
from harness.precisions import USUAL, available
from harness.probes.subject import Inputs, Probe, Subject
from harness.progress import StepProgress
from harness.record import LayerMeasurement, Measurement
from harness.registry import BUILT_IN, Choice
from harness.seeding import generator
from harness.tasks.density import Density

OF_LOG_DET = ("log_det", "normalization")
"""Probes that measure nothing else."""

MOST_NUMBERS = 8_000_000
"""What one probe may cost: passes of one input through the network, times the numbers in it."""

LEAST = {"samples": 16}
"""Below which one is not halved further; of others 1 is the least."""

KRYLOV_FROM = 256
"""Dimensions from which on singular values are found by products with the Jacobian."""

REDUCED = "points", "samples", "starts"
"""Parameters that are halved, the largest first, until a probe costs no more than that."""

FAR = 1e3
"""How many times as large as its latents a network's own samples may be."""

CHEAP: dict[str, int] = {
    "samples": 256,
    "restarts": 1,
    "starts": 8,
    "batches": 1,
    "batch_size": 16,
}
"""Parameters of probes that make them dear, and what they are here at most; ``points`` beside."""

FAILURE = 1e-2
"""From which error on, beside the data's ``‖x‖₂``, an attack has succeeded."""

FEW: dict[str, int] = {"attack": 8, "gradient_fidelity": 8}
"""Probes that differentiate every input many times, and the most points that they get."""


def probe_inputs(given: Given, count: int, device: torch.device) -> Inputs:
    """The inputs in distribution, and what is made off it for their shape and range."""
    shape = tuple(given.test.shape[1:])
    empty = Splits(given.test[:0], given.test[:0])
    dataset = Dataset("given", shape, given.low, given.high, "", "", lambda: empty)
    test = given.test[:count]
    sets = {"test": test}
    sets |= off_distribution(dataset, test, count, generator(0, "probe inputs"))
    placed = {name: x.to(device) for name, x in sets.items()}
    return Inputs(placed, given.lowest.to(device), given.highest.to(device), step=0)


def measured(
    network: Network, given: Given, points: int, device: torch.device, console: Console
) -> Findings:
    """Run every built-in probe with cheap settings.

    Args:
        network: In evaluation mode; moved to the device, and not changed otherwise.
        given: In distribution.
        points: Inputs of each set, at most; fewer where a probe would cost too much.
        device: Where.
        console: Where progress is shown.
    """
    flow = network.flow.to(device)
    inputs = probe_inputs(given, max(points, CHEAP["samples"]), device)
    subject = Subject(inputs, Density().loss if network.has_log_det else squared_latent)
    networks = Networks([flow])
    numbered(flow)
    forgotten(flow)
    found: list[Measurement] = []
    raised: dict[str, str] = {}
    norms = torch.linalg.vector_norm(inputs.sets["test"].double().flatten(1), dim=1)
    scale = float(norms.median())
    names = [
        name for name in sorted(BUILT_IN["probe"]) if network.has_log_det or name not in OF_LOG_DET
    ]
    with StepProgress(console, len(names)) as progress:
        for name in names:
            progress.begin(name)
            choice = settings(name, points, given.test[0].numel(), len(inputs.sets), device, scale)
            run: Probe = registry.build("probe", choice)
            coroutine = run(subject, generator(0, f"probe {name}"))
            (ended,) = in_lockstep([coroutine], networks.answer)
            if ended.result.error is not None:
                error = ended.result.error
                raised[name] = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(": ")
            else:
                found += ended.result.unwrap()
            progress.end(f"{name}: {'failed' if name in raised else f'{ended.seconds:.1f} s'}")
    return Findings(
        tuple(one for one in found if not isinstance(one, LayerMeasurement)),
        tuple(one for one in found if isinstance(one, LayerMeasurement)),
        scale,
        given.test[0].numel(),
        tuple(inputs.sets),
        raised,
        forgotten(flow),
        network.has_log_det,
    )


def settings(
    name: str, points: int, dimension: int, sets: int, device: torch.device, scale: float = 1.0
) -> Choice:
    """A probe at every precision of the device, as cheap as it gets with these points."""
    entry = registry.get("probe", name)
    given: dict[str, Any] = {}
    for key, field in entry.parameters.model_fields.items():
        if key == "precisions" and field.default == USUAL:  # others are dear in each
            given[key] = list(available(device))
        elif key == "points" and isinstance(field.default, int):
            given[key] = min(points, field.default, FEW.get(name, points))
        elif key in CHEAP and isinstance(field.default, int):
            given[key] = min(CHEAP[key], field.default)
        elif key == "failure":
            given[key] = FAILURE * scale or FAILURE
        elif key == "method" and dimension > KRYLOV_FROM:
            given[key] = "lanczos"
    choice = registry.resolve("probe", {"name": name, **given})
    while entry.cost is not None:
        left = {key: given[key] for key in REDUCED if given.get(key, 1) >= 2 * LEAST.get(key, 1)}
        cost = entry.cost(choice.parameters, dimension, sets) * dimension
        if cost <= MOST_NUMBERS or not left:
            break
        given[max(left, key=left.__getitem__)] //= 2
        choice = registry.resolve("probe", {"name": name, **given})
    return choice


def squared_latent(flow: Bijection, x: Tensor) -> Tensor:
    """``mean ½ ‖F(x)‖²``: a loss where the code knows no log-det."""
    z, _ = flow(x)
    mean: Tensor = 0.5 * (z.flatten(1) ** 2).sum(1).mean()
    return mean


def without_data(network: Network, latent: Tensor) -> Given:
    """Inputs where none are given: the network's own samples, or standard normal inputs.

    ``x = F⁻¹(z)``, ``z ~ N(0, I)``, in float64 where it can: what a trained flow takes for in
    distribution. Where they are not all finite, or a thousand times as large as z, they tell
    nothing of it.

    Args:
        network: On the CPU.
        latent: Standard normal, ``(N, *shape)``, of the latent's shape and of the inputs' size.
    """
    try:
        exact = copy.deepcopy(network.flow).double()
        with torch.no_grad():
            x = exact.inverse(latent.double())[0].float()
    except Exception:  # a stranger's code in a precision that it may not know
        with torch.no_grad():
            x = network.flow.inverse(latent)[0]
    lost = float((~x.flatten(1).isfinite().all(1)).double().mean())
    if lost == 0 and x.abs().max() <= FAR * latent.abs().max():
        return Given.of(x, "the network's own samples, for no --data was given")
    how = f"{100 * lost:.0f} % of its own samples are not finite" if lost else "its own are huge"
    given = Given.of(latent.reshape(x.shape), "")
    return replace(given, said=f"standard normal inputs, for no --data was given and {how}")
