"""Latents back to inputs: a network alone and a pack of 16, against who trains the same flow.

Ours gives inputs and log-dets, and so does the flow by hand; the libraries give inputs by their
cheapest way: only against them is there a target. One thread. Throughput is in samples a second:
a pack of 16 inverts 16 batches at once.
"""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.inverse import solver
from benchmarks.rounds import rounds
from benchmarks.row import Row
from benchmarks.training import by_hand
from benchmarks.training.compare import networks
from benchmarks.training.contender import Network, PlainLoop, Size, parameters
from benchmarks.training.pack import Pack, checkerboard
from harness.bijections.base import Bijection
from harness.memory.freed import keep_freed_memory
from harness.training.stack import Stack

SIZES = {
    Size(32, 128, steps=200): 7,
    Size(128, 512, steps=50): 5,
    Size(32, 128, steps=100, flow="spline"): 7,
    Size(128, 512, steps=30, flow="spline"): 5,
}
"""How many rounds of each; a step is one call."""

MEMBERS = (1, 16)
TRAINED = 50
"""Steps before, so that no flow is near the identity."""

ROUND_TRIP = 1e-3
"""What an inverse may be off by, in float32: then it is that of another flow."""

Invert = Callable[[Tensor], Any]


def rows(most_rounds: int | None = None) -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        found = [
            row
            for size, count in SIZES.items()
            for row in compare(size, min(count, most_rounds or count))
        ]
    finally:
        torch.set_num_threads(threads)
    return found + solver.rows(most_rounds)


def compare(size: Size, count: int) -> list[Row]:
    """Every library against a network alone and a pack.

    Raises:
        AssertionError: Somebody's inverse is not that of its own flow.
    """
    torch.manual_seed(0)
    dataset = checkerboard()
    data = dataset.read()
    others = networks(size)
    for one in others:
        PlainLoop(one, data.train, size.batch).train(TRAINED)
    packs = [Pack(members, size, dataset, data.train) for members in MEMBERS]
    for pack in packs:
        pack.train(TRAINED)
    latents = torch.randn(size.batch, 2)
    for one in others:
        check(one.name, one.latents, one.inputs, latents)
    subjects = {_name(pack): pack for pack in packs}
    works = {}
    for name, pack in subjects.items():
        back, given = _together(pack), latents.expand(pack.members, -1, -1)
        check(pack.name, partial(_each, pack.flows), partial(_first, back), given)
        works[name] = partial(_repeat, size.steps, back, given)
    works |= {one.name: partial(_repeat, size.steps, one.inputs, latents) for one in others}
    times = rounds(f"inverse, {size}", works, count)
    return [
        _row(name, pack, other, size, times) for other in others for name, pack in subjects.items()
    ]


def check(name: str, there: Invert, back: Invert, latents: Tensor) -> None:
    """``F(F⁻¹(z)) = z``."""
    with torch.no_grad():
        again = there(back(latents))
    off = float((again - latents).abs().max())
    if not off < ROUND_TRIP:
        raise AssertionError(f"{name}: what comes back is off by {off}")


def _first(function: Invert, x: Tensor) -> Tensor:
    return function(x)[0]  # type: ignore[no-any-return]


def _each(flows: Sequence[Bijection], x: Tensor) -> Tensor:
    return torch.stack([flow(one)[0] for flow, one in zip(flows, x, strict=True)])


def _inverse(flow: Bijection, latents: Tensor) -> tuple[Tensor, Tensor]:
    x, log_det = flow.inverse(latents)
    return x, log_det


def _together(pack: Pack) -> Invert:
    return partial(Stack(pack.flows).run, _inverse)


@torch.no_grad()
def _repeat(count: int, invert: Invert, latents: Tensor) -> None:
    for _ in range(count):
        invert(latents)


def _name(pack: Pack) -> str:
    return "a network alone" if pack.members == 1 else pack.name


def _row(name: str, pack: Pack, other: Network, size: Size, times: list[dict[str, float]]) -> Row:
    ours = [pack.members * size.steps * size.batch / taken[name] for taken in times]
    theirs = [size.steps * size.batch / taken[other.name] for taken in times]
    return Row(
        group="inverse",
        subject=name,
        contender=other.name,
        setting=str(size),
        members=pack.members,
        unit="×",
        values=tuple(a / b for a, b in zip(ours, theirs, strict=True)),
        target=None if other.name == by_hand.NAME else 1.0,
        rate=statistics.median(ours),
        contender_rate=statistics.median(theirs),
        rate_unit="samples/s",
        parameters=pack.parameters,
        contender_parameters=parameters(other.module),
    )
