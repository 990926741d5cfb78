"""A training step of the affine 2-D flow against a plain loop written by hand.

Eight couplings; one thread; rounds of both in turn, the order swapped every round; medians.
The hand-written network is the same mathematics with the same shapes: ActNorm, affine coupling
with ``sigmoid(h + 2)``, SiLU conditioners. Its loop is what a person would write: default Adam,
no clipping, no logging.
"""

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.row import Row
from harness import registry
from harness.bijections.base import Bijection
from harness.seeding import generator
from harness.suite.model import Training
from harness.training.batches import Batches
from harness.training.loop import Member, train

COUPLINGS, ROUNDS = 8, 9


class HandFlow(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.biases = nn.Parameter(torch.zeros(COUPLINGS, 2))
        self.log_scales = nn.Parameter(torch.zeros(COUPLINGS, 2))
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(1, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, 2),
            )
            for _ in range(COUPLINGS)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros(len(x))
        for number, net in enumerate(self.nets):
            x = (x + self.biases[number]) * self.log_scales[number].exp()
            log_det = log_det + self.log_scales[number].sum()
            a, b = x.chunk(2, dim=1)
            kept, changed = (b, a) if number % 2 else (a, b)
            raw, shift = net(kept).chunk(2, dim=1)
            changed = changed * torch.sigmoid(raw + 2) + shift
            log_det = log_det + nn.functional.logsigmoid(raw + 2).sum(1)
            x = torch.cat([changed, kept] if number % 2 else [kept, changed], dim=1)
        return x, log_det


def hand_loop(flow: HandFlow, data: Tensor, batch: int, steps: int) -> None:
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    for _ in range(steps):
        x = data[torch.randint(len(data), (batch,))]
        z, log_det = flow(x)
        loss = -(-0.5 * (z * z).sum(1) - math.log(2 * math.pi) + log_det).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(width: int, batch: int, steps: int) -> float:
    """Median over rounds of (our time / the hand-written loop's time)."""
    dataset = registry.build("dataset", registry.resolve("dataset", "checkerboard"))
    data = dataset.read().train
    choice = registry.resolve(
        "architecture", {"name": "affine", "couplings": COUPLINGS, "width": width}
    )
    task = registry.build("task", registry.resolve("task", "density"))
    none = registry.build("regularizer", registry.resolve("regularizer", "none"))
    settings = Training(steps=steps, batch_size=batch)
    flow: Bijection = registry.build("architecture", choice, (2,), generator(0, "bench"))
    hand = HandFlow(width)
    if (mine := parameters(flow)) != (theirs := parameters(hand)):
        raise AssertionError(f"not the same network: {mine} and {theirs} parameters")

    def ours() -> None:
        train([Member(flow, settings, none, 0)], task, Batches(dataset, data, batch, [0]))

    def plain() -> None:
        hand_loop(hand, data, batch, steps)

    ours()
    plain()
    ratios = []
    for number in range(ROUNDS):
        first, second = (ours, plain) if number % 2 else (plain, ours)
        times = {first: seconds(first), second: seconds(second)}
        ratios.append(times[ours] / times[plain])
    return statistics.median(ratios)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def rows() -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        large, small = compare(128, 512, 60), compare(32, 128, 200)
    finally:
        torch.set_num_threads(threads)
    name = "training step, affine 2-D flow, × hand-written loop with default Adam"
    return [
        Row(f"{name} (2×128, batch 512)", large, 1.0, "lower"),
        Row(f"{name} (2×32, batch 128)", small, 1.0, "lower"),
    ]
