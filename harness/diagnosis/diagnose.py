"""What ``innbench diagnose`` does: the network, the data, the probes, the verdict."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.console import Console

from harness.diagnosis.data import Given, read
from harness.diagnosis.measure import measured, without_data
from harness.diagnosis.network import Candidate, Network
from harness.diagnosis.report import Diagnosis
from harness.diagnosis.verdict import verdict
from harness.errors import InputError
from harness.registry import Shape
from harness.seeding import generator

SMALL = 1024
"""Numbers in an input up to which one thread is fastest."""

WITHOUT_DATA = 1024
"""Inputs that are made where none are given."""


def diagnose(
    name: str,
    data: str | None = None,
    shape: Shape | None = None,
    points: int = 64,
    device: str = "cpu",
    console: Console | None = None,
) -> Diagnosis:
    """Run every built-in probe on a network and say what they mean.

    Args:
        name: ``module:factory``, or a registered architecture.
        data: A ``.npy`` or ``.parquet`` file of inputs in distribution, or a dataset's name; the
            network's own samples if left out.
        shape: Of one input, where neither the data nor the network says it.
        points: Inputs of each set, at most.
        device: ``cpu`` or ``cuda``.
        console: Where progress is shown; standard error if left out.

    Raises:
        InputError: Something given cannot work.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is none here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' are not ours to show
        candidate = Candidate(name)
        given = None if data is None else read(data, shape or candidate.shape)
        network, given = _built(candidate, given, shape)
        with few_threads(given.test[0].numel()):
            shown = console or Console(stderr=True)
            found = measured(network, given, points, torch.device(device), shown)
    told = verdict(found)
    return Diagnosis(name, tuple(given.test.shape[1:]), given.said, device, told, found)


@contextmanager
def few_threads(numbers: int) -> Iterator[None]:
    """One thread for small inputs, on which threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if numbers <= SMALL else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _built(candidate: Candidate, given: Given | None, shape: Shape | None) -> tuple[Network, Given]:
    if given is not None:
        own = tuple(given.test.shape[1:])
        if shape is not None and shape != own:
            raise InputError(f"--shape is {shape}, and the data's rows are of shape {own}")
        return candidate.network(own, given.test), given
    wanted = shape or candidate.shape
    if wanted is None:
        message = "nothing says the shape of its inputs: give --data, or --shape as in 2 or 1,8,8"
        raise InputError(f"{candidate.name}: {message}")
    source = generator(0, "own samples")
    z = torch.randn(WITHOUT_DATA, *wanted, generator=source)
    network = candidate.network(wanted, z)
    with torch.no_grad():
        latent = tuple(network.flow(z[:1])[0].shape[1:])
    return network, without_data(network, z.reshape(WITHOUT_DATA, *latent))
