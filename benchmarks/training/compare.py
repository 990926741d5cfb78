"""Packs against the same cells in turn, plain torch by hand, and four libraries; one thread.

Throughput is in member-steps a second: a pack of 16 does 16 of them in a step. A contender that
trains one network at a time has the same throughput for 16 of them in turn as for one.
"""

import math
import statistics
from functools import partial

import torch
from torch import Tensor

from benchmarks.rounds import rounds
from benchmarks.row import Row
from benchmarks.training import by_hand, peers
from benchmarks.training.contender import Contender, Network, PlainLoop, Size
from benchmarks.training.pack import Pack, checkerboard
from harness.memory.freed import keep_freed_memory

SIZES = {
    Size(32, 128, steps=200): 7,
    Size(128, 512, steps=30): 5,
    Size(32, 128, steps=60, flow="spline"): 7,
}
"""How many rounds of each."""

MEMBERS = (1, 4, 16, 64)
TARGETS = {(32, 16): 8.0, (32, 64): 12.0, (128, 16): 1.3}
"""By width and members, against the affine flow by hand. All others may not be slower: 1."""

CHECKED_STEPS = {32: 400, 128: 160}
"""By width: from here on a flow that trains is better than a normal distribution by a margin."""
APART, MARGIN = 0.3, 0.1  # nats; initialisations differ, and with them the first hundred steps


def rows(most_rounds: int | None = None) -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()  # the process's, so all have it
    try:
        return [
            row
            for size, count in SIZES.items()
            for row in compare(size, min(count, most_rounds or count))
        ]
    finally:
        torch.set_num_threads(threads)


def compare(size: Size, count: int) -> list[Row]:
    """Every pack against everybody else.

    Raises:
        AssertionError: Somebody did not train.
    """
    torch.manual_seed(0)
    dataset = checkerboard()
    data = dataset.read()
    others = [PlainLoop(one, data.train, size.batch) for one in networks(size)]
    packs = [Pack(members, size, dataset, data.train) for members in MEMBERS]
    largest = max(one.parameters for one in others) if others else packs[0].parameters
    if packs[0].parameters != largest:  # some have no ActNorm; none has more than it
        message = f"not the same flow: {packs[0].parameters} and {largest} parameters"
        raise AssertionError(message)
    everybody: list[Contender] = [*others, *packs]

    works = {one.name: partial(one.train, size.steps) for one in everybody}
    times = rounds(f"training, {size}", works, count)
    check(everybody, data.test, CHECKED_STEPS[size.width] - size.steps * (count + 1))
    rates = {
        one.name: [one.members * size.steps / taken[one.name] for taken in times]
        for one in everybody
    }
    against: list[Contender] = [*others[:1], packs[0], *others[1:]]
    return [
        _row(pack, other, size, rates) for other in against for pack in packs if pack is not other
    ]


def networks(size: Size) -> list[Network]:
    """By hand, where there is that, and in other libraries."""
    ours = [by_hand.network(size.width)] if size.flow == "affine" else []
    return [*ours, *peers.networks(size)]


def _row(pack: Pack, other: Contender, size: Size, rates: dict[str, list[float]]) -> Row:
    ours, theirs = rates[pack.name], rates[other.name]
    by = other.name == by_hand.NAME
    return Row(
        group="training",
        subject=pack.name,
        contender="the same cells in turn" if isinstance(other, Pack) else other.name,
        setting=str(size),
        members=pack.members,
        unit="×",
        values=tuple(a / b for a, b in zip(ours, theirs, strict=True)),
        target=TARGETS.get((size.width, pack.members), 1.0) if by else 1.0,
        rate=statistics.median(ours),
        contender_rate=statistics.median(theirs),
        rate_unit="member-steps/s",
        parameters=pack.parameters,
        contender_parameters=other.parameters,
    )


def check(everybody: list[Contender], test: Tensor, missing: int) -> None:
    """Every network is about as good as the first, and no mere normal distribution.

    Args:
        everybody: All trained for the same number of steps, by hand first if that takes part.
        test: Inputs that nobody trained on.
        missing: Steps to train before, if any.
    """
    if missing > 0:
        for one in everybody:
            one.train(missing)
    losses = {one.name: one.losses(test) for one in everybody}
    normal = 1 + math.log(2 * math.pi) + 0.5 * float(torch.logdet(test.T.cov()))
    (first,) = losses[everybody[0].name]
    for name, found in losses.items():
        if not max(abs(loss - first) for loss in found) < APART:
            raise AssertionError(f"{name} ends at {found}, {everybody[0].name} at {first}")
        if not max(found) < normal - MARGIN:
            raise AssertionError(f"{name} ends at {found}: a normal distribution has {normal}")
