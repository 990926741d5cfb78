"""Memory, time and errors of gradients through rebuilt activations; one thread.

Memory is counted: bytes of all tensors that exist beside the weights and their gradients, at the
worst moment of a step. Time is that of a step's gradient. Errors are relative, against float64; of
a gradient that is lost infinite.
"""

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.backpropagation.networks import Kind, Map, chain, peers, value
from benchmarks.progress import say
from benchmarks.rounds import rounds
from benchmarks.row import Row
from harness.backpropagation.rebuilding import guarded, memory_saving
from harness.bijections.base import Bijection
from harness.gradients.comparison import relative_error
from harness.memory.freed import keep_freed_memory
from harness.memory.member import Storages

KINDS: tuple[Kind, ...] = ("additive", "affine")
DIMENSION, BATCH = 64, 512
WIDTHS = 128, 256
SHALLOW, DEEP, TIMED = 8, 64, 16
NEAR, FAR = 0.1, 0.2
"""Sizes of the weights: inverses are as good as float32, and they have exploded."""
ROUNDS, STEPS = 7, 5

PLAIN, SAVING, GUARDED = "plain autograd", "memory-saving", "guarded"
WAYS: dict[str, Callable[[Bijection], Bijection]] = {
    PLAIN: lambda flow: flow,
    SAVING: memory_saving,
    GUARDED: guarded,
}
SLOWER = {SAVING: 1.5, GUARDED: 1.7}


def rows(most_rounds: int | None = None) -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    count = min(ROUNDS, most_rounds or ROUNDS)
    try:
        return [
            row
            for kind in KINDS
            for row in (
                *memory(kind),
                *(one for width in WIDTHS for one in times(kind, width, count)),
                *(one for size in (NEAR, FAR) for one in errors(kind, size)),
            )
        ]
    finally:
        torch.set_num_threads(threads)


def inputs(seed: int = 0) -> Tensor:
    return torch.randn(BATCH, DIMENSION, generator=torch.Generator().manual_seed(seed))


def peak(flow: Bijection, x: Tensor) -> int:
    """Bytes beside the weights and their gradients."""
    leaves = list(flow.parameters())
    storages = Storages([x, *leaves])
    with storages:
        loss(value(flow), x).backward()  # type: ignore[no-untyped-call]
    return max(storages.live) - sum(leaf.nbytes for leaf in leaves)


def memory(kind: Kind) -> list[Row]:
    """How it grows with depth, and what of plain autograd's the guarded way takes."""
    bytes_of = {
        (way, depth): peak(wrap(chain(kind, depth, DIMENSION, WIDTHS[0], NEAR)), inputs())
        for way, wrap in WAYS.items()
        for depth in (SHALLOW, DEEP)
    }
    say(f"backpropagation: memory, {kind}")
    row = partial(_row, kind, "memory", WIDTHS[0])
    grows = {way: bytes_of[way, DEEP] / bytes_of[way, SHALLOW] for way in WAYS}
    parts = {way: bytes_of[way, DEEP] / bytes_of[PLAIN, DEEP] for way in SLOWER}
    itself = f"itself at depth {SHALLOW}"
    return [
        row(SAVING, itself, [grows[SAVING]], 1.1, "lower"),
        row(PLAIN, itself, [grows[PLAIN]], None, "lower"),
        row(SAVING, PLAIN, [parts[SAVING]], None, "lower"),
        row(GUARDED, PLAIN, [parts[GUARDED]], 0.4, "lower"),
    ]


def times(kind: Kind, width: int, count: int) -> list[Row]:
    """As long as plain autograd, and as fast as the libraries."""
    flow, x = chain(kind, TIMED, DIMENSION, width, NEAR), inputs()
    leaves = list(flow.parameters())
    works: dict[str, Callable[[], object]] = {}
    for way, wrap in WAYS.items():
        works[way] = partial(_steps, value(wrap(flow)), leaves, x)
    others = peers(flow, kind)
    for name, peer in others.items():
        works[name] = partial(_steps, peer.map, peer.parameters, x)
    taken = rounds(f"backpropagation: {kind}, width {width}", works, count)

    def ratios(one: str, by: str) -> list[float]:
        return [each[one] / each[by] for each in taken]

    row = partial(_row, kind, "time", width)
    found = [row(way, PLAIN, ratios(way, PLAIN), most, "lower") for way, most in SLOWER.items()]
    return found + [row(SAVING, name, ratios(name, SAVING), 1.0, "higher") for name in others]


def errors(kind: Kind, size: float) -> list[Row]:
    """How many times as far from float64 as ours the gradients of others are.

    Raises:
        AssertionError: A library computes something else.
    """
    flow = chain(kind, TIMED, DIMENSION, WIDTHS[0], size)
    exact = copy.deepcopy(flow).double()
    leaves, count = list(flow.parameters()), 5
    ours = {way: wrap(flow) for way, wrap in WAYS.items()}
    others = peers(flow, kind)
    found: dict[str, list[float]] = {}
    for seed in range(count):
        x = inputs(seed)
        reference = _gradient(value(exact), list(exact.parameters()), x.double())
        gradients = {way: _gradient(value(one), leaves, x) for way, one in ours.items()}
        for name, peer in others.items():
            off = (peer.map(x) - flow(x)[0]).norm() / flow(x)[0].norm()
            if not off < 1e-3:
                raise AssertionError(f"{name}'s {kind} network is another one: {float(off):.2g}")
            gradients[name] = _gradient(peer.map, peer.parameters, x)
        for name, one in gradients.items():
            error = float(relative_error(one[None].double(), reference[None]))
            found.setdefault(name, []).append(error if math.isfinite(error) else math.inf)
    for name, each in found.items():
        middle = statistics.median(each)
        say(f"backpropagation: {kind}, weights {size}: {name} is off by {middle:.1e}")
    row = partial(_row, kind, f"error, weights {size}", WIDTHS[0])
    against = {PLAIN: None, SAVING: None, **dict.fromkeys(others, 1.0)}
    return [
        row(
            GUARDED,
            name,
            [a / b for a, b in zip(found[name], found[GUARDED], strict=True)],
            least,
            "higher",
        )
        for name, least in against.items()
    ]


def loss(function: Map, x: Tensor) -> Tensor:
    return function(x).square().sum(1).mean()


def _gradient(function: Map, leaves: Sequence[nn.Parameter], x: Tensor) -> Tensor:
    """By ``backward()``, which all of them have."""
    for leaf in leaves:
        leaf.grad = None
    loss(function, x).backward()  # type: ignore[no-untyped-call]
    return torch.cat([leaf.grad.flatten() for leaf in leaves if leaf.grad is not None])


def _steps(function: Map, leaves: Sequence[nn.Parameter], x: Tensor) -> None:
    for _ in range(STEPS):
        _gradient(function, leaves, x)


def _row(
    kind: Kind,
    what: str,
    width: int,
    subject: str,
    contender: str,
    values: Sequence[float],
    target: float | None,
    better: Literal["higher", "lower"],
) -> Row:
    return Row(
        group="backpropagation",
        subject=f"{subject}, {what}",
        contender=contender,
        setting=f"{kind}, 2×{width}",
        members=1,
        unit="×",
        values=tuple(values),
        target=target,
        better=better,
    )
