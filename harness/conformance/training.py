"""A network after some training, on a density that any shape has."""

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.conformance.candidate import Candidate
from harness.conformance.row import Row
from harness.datasets.base import Dataset, Splits
from harness.registry import Shape
from harness.seeding import generator
from harness.suite.model import Training
from harness.training.batches import Batches
from harness.training.loop import Member, train

STEPS = 200


def two_gaussians(shape: Shape) -> Dataset:
    """Two modes, at ±1 in every entry, of standard deviation 0.3."""

    def read() -> Splits:
        source = generator(0, "two Gaussians")
        sides = 2 * torch.randint(0, 2, (2000, *[1] * len(shape)), generator=source) - 1
        x = sides + 0.3 * torch.randn(2000, *shape, generator=source)
        return Splits(x[:1800], x[1800:])

    return Dataset("two_gaussians", shape, -2.0, 2.0, "generated", "Apache-2.0", read)


def trained(candidate: Candidate, steps: int = STEPS) -> tuple[Bijection, torch.Tensor, list[Row]]:
    """The network in float64 and evaluation mode, inputs it has not seen, and how it went."""
    dataset = two_gaussians(candidate.shape)
    splits = dataset.read()
    flow = candidate.fresh()
    settings = Training(steps=steps, batch_size=32, learning_rate=2e-3, precision="float64")
    task = registry.build("task", registry.resolve("task", "density"))
    none = registry.build("regularizer", registry.resolve("regularizer", "none"))
    batches = Batches(dataset, splits.train, settings.batch_size, [0])
    (ended,) = train([Member(flow, settings, none, 0)], task, batches)
    losses = [point.value for point in ended.curve if point.metric == "loss"]
    detail = f"it ends as {ended.status} after {ended.steps} of {steps} steps; its loss goes from "
    detail += f"{losses[0]:.4g} to {losses[-1]:.4g}" if losses else "nowhere"
    told = Row.at_most("training", steps - ended.steps, 0, detail)
    return flow.double().eval(), splits.test.double(), [told]
