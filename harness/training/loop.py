"""The training loop, the same for every task, architecture and regularizer."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.datasets.base import Dataset
from harness.record import CurvePoint, Status
from harness.regularizers.base import Regularizer
from harness.seeding import generator
from harness.suite.model import Training
from harness.tasks.base import Task
from harness.training.optimizer import clip_gradient, learning_rate, make_optimizer


@dataclass(frozen=True)
class Trained:
    """How training ended.

    Attributes:
        status: ``ok``, or ``diverged`` where the loss or the gradient ceased to be finite.
        steps: Steps done; the weights are those after that many.
        curve: At each logged step the task's loss, the penalty before its weight where it is
            applied, the norm of the whole gradient, and the learning rate.
    """

    status: Status
    steps: int
    curve: tuple[CurvePoint, ...]


class Batches:
    """Batches drawn with replacement and prepared afresh, on the data's device."""

    def __init__(self, dataset: Dataset, raw: Tensor, size: int, seed: int) -> None:
        self.dataset, self.raw, self.size = dataset, raw, size
        self.order, self.noise = generator(seed, "data order"), generator(seed, "dequantization")

    def draw(self) -> Tensor:
        """The next batch, ``(size, *shape)`` float32."""
        chosen = torch.randint(len(self.raw), (self.size,), generator=self.order)
        return self.dataset.prepare(self.raw[chosen.to(self.raw.device)], self.noise)


def train(
    flow: Bijection,
    task: Task,
    regularizer: Regularizer,
    batches: Batches,
    settings: Training,
    seed: int,
) -> Trained:
    """Train in place.

    Data-dependent initialisation first, on one batch of its own. A step whose loss or gradient
    norm is not finite is not taken: training ends there as ``diverged``, with the weights as they
    are, which the step before may have left not finite. They are probed like any others.
    """
    dtype = getattr(torch, settings.precision)
    flow.to(dtype).train()
    flow.initialize(batches.draw().to(dtype))
    optimizer = make_optimizer(flow.parameters(), settings)
    noise = generator(seed, "regularizer")
    clip = math.inf if settings.gradient_clip is None else settings.gradient_clip
    parameters = list(flow.parameters())
    curve: list[CurvePoint] = []
    for step in range(settings.steps):
        rate = learning_rate(settings, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = batches.draw().to(dtype)
        loss = task.loss(flow, x)
        values = {"loss": float(loss.detach())}
        if regularizer.weight and step % regularizer.every == 0:
            penalty = regularizer.penalty(flow, x, noise)
            values["penalty"] = float(penalty.detach())
            loss = loss + regularizer.weight * penalty
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        values["gradient_norm"] = clip_gradient(parameters, clip)
        diverged = not all(map(math.isfinite, values.values()))
        if diverged or step % settings.log_every == 0 or step == settings.steps - 1:
            curve += [CurvePoint(step, metric, value) for metric, value in values.items()]
            curve.append(CurvePoint(step, "learning_rate", rate))
        if diverged:
            return Trained(Status.DIVERGED, step, tuple(curve))
        optimizer.step()
    # The last step was taken from a finite gradient, but nothing has looked at where it led.
    finite = all(bool(parameter.isfinite().all()) for parameter in parameters)
    return Trained(Status.OK if finite else Status.DIVERGED, settings.steps, tuple(curve))
