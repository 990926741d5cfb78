"""A cell's probes: how they are run, and how they visit its network while it is trained."""

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.measuring.lockstep import failure, in_lockstep
from harness.measuring.networks import Networks
from harness.probes.subject import Inputs, Loss, Probe, Subject
from harness.record import Measurement
from harness.registry import Choice
from harness.seeding import generator
from harness.suite.cell import Cell


async def measurements(probes: Sequence[Choice], subject: Subject, seed: int) -> list[Measurement]:
    """What probes say of a subject, one after the other.

    Each draws by the cell's seed and its own name, at every step the same: what differs between
    the points of a curve is the network.

    Raises:
        TypeError: One of them is no ``async`` function.
    """
    found: list[Measurement] = []
    for choice in probes:
        probe: Probe = registry.build("probe", choice)
        coroutine = probe(subject, generator(seed, f"probe {choice.name}"))
        if not inspect.isawaitable(coroutine):
            raise TypeError(f"the probe {choice.name!r} is no async function")
        found += await coroutine
    return found


@dataclass
class Visited:
    """What was seen of one cell while it was trained.

    Attributes:
        measurements: Of all visits, in order.
        seconds: Wall time of its probes: its share, where cells were measured at once.
        error: What a probe raised; from then on the cell is not visited.
    """

    measurements: list[Measurement] = field(default_factory=list)
    seconds: float = 0.0
    error: BaseException | None = None


class Visits:
    """Probes with an ``every``, asked while the pack is trained.

    A visitor of :func:`harness.training.loop.train`. What it makes of the networks (copies in
    other precisions, Jacobians) is gone when a visit ends. A probe that raises fails its own cell,
    and an error of what runs the probes those that had not ended.

    Args:
        cells: Of a pack.
        flows: Their networks.
        inputs: What they are probed on.
        loss: What they are trained to minimise.

    Attributes:
        visited: What was seen of each cell.
        seconds: Wall time of all visits, in seconds: no part of training.
    """

    def __init__(
        self, cells: Sequence[Cell], flows: Sequence[Bijection], inputs: Inputs, loss: Loss
    ) -> None:
        self.visited = [Visited() for _ in cells]
        self.seconds = 0.0
        self._cells, self._flows, self._inputs, self._loss = cells, flows, inputs, loss
        asked = (probe.every for cell in cells for probe in cell.probes)
        self._every = {every for every in asked if every is not None}

    def expects(self, step: int) -> bool:
        """Whether some probe is asked after so many steps."""
        return any(step % every == 0 for every in self._every)

    def visit(self, step: int, numbers: Sequence[int]) -> bool:
        """Ask the probes whose turn it is of these networks, which are in evaluation mode.

        Returns:
            Whether the training of any of them is still of use: not where all have failed.
        """
        if self._inputs.lowest.is_cuda:  # what training has queued is no part of it
            torch.cuda.synchronize(self._inputs.lowest.device)
        begun = time.perf_counter()
        left = [number for number in numbers if self.visited[number].error is None]
        if left:
            self._visit(step, left)
        self.seconds += time.perf_counter() - begun
        return any(self.visited[number].error is None for number in numbers)

    def _visit(self, step: int, numbers: Sequence[int]) -> None:
        networks = Networks([self._flows[number] for number in numbers])
        inputs = replace(self._inputs, step=step)
        coroutines = [
            measurements(_due(cell, step), Subject(inputs, self._loss), cell.seed)
            for cell in (self._cells[number] for number in numbers)
        ]
        left = set(numbers)
        try:
            for ended in in_lockstep(coroutines, networks.answer, networks.pays):
                networks.forget(ended.number)
                one = self.visited[numbers[ended.number]]
                one.seconds += ended.seconds
                one.error = ended.result.error
                one.measurements += ended.result.value or []
                left.remove(numbers[ended.number])
        except (Exception, SystemExit) as error:
            for number in left:
                self.visited[number].error = failure(error).error


def _due(cell: Cell, step: int) -> list[Choice]:
    return [probe for probe in cell.probes if probe.every and step % probe.every == 0]
