"""A pack of the harness, by the loop that a sweep's worker calls."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.training.contender import BINS, BOUND, COUPLINGS, FLOOR, Flow, Size, parameters
from harness import registry
from harness.bijections.base import Bijection
from harness.datasets.base import Dataset
from harness.seeding import generator
from harness.suite.model import Training
from harness.tasks.base import Task
from harness.training.batches import Batches
from harness.training.loop import Member, train

KINDS: dict[Flow, dict[str, Any]] = {
    "affine": {"name": "affine"},
    "spline": {
        "name": "neural_spline_flow",
        "bins": BINS,
        "bound": BOUND,
        "minimum_width": FLOOR,
        "minimum_height": FLOOR,
        "minimum_slope": FLOOR,
        "maximum_slope": None,
    },
}


def checkerboard() -> Dataset:
    dataset: Dataset = registry.build("dataset", registry.resolve("dataset", "checkerboard"))
    return dataset


class Pack:
    """Members that differ in their seed, trained as one program, with a cell's default settings.

    A suite's defaults clip the gradient and log every tenth step: the plain loops do neither.
    """

    def __init__(self, members: int, size: Size, dataset: Dataset, data: Tensor) -> None:
        self.members, self._size, self._dataset, self._data = members, size, dataset, data
        self.name = f"pack of {members}"
        choice = registry.resolve(
            "architecture", {**KINDS[size.flow], "couplings": COUPLINGS, "width": size.width}
        )
        self.flows: list[Bijection] = [
            registry.build("architecture", choice, (2,), generator(seed, "bench"))
            for seed in range(members)
        ]
        self._task: Task = registry.build("task", registry.resolve("task", "density"))
        self._none = registry.build("regularizer", registry.resolve("regularizer", "none"))
        self.parameters = parameters(self.flows[0])

    def train(self, steps: int) -> None:
        settings = Training(steps=steps, batch_size=self._size.batch)
        members = [Member(f, settings, self._none, seed) for seed, f in enumerate(self.flows)]
        seeds = list(range(self.members))
        train(members, self._task, Batches(self._dataset, self._data, self._size.batch, seeds))

    @torch.no_grad()
    def losses(self, x: Tensor) -> list[float]:
        return [float(self._task.loss(flow, x)) for flow in self.flows]
