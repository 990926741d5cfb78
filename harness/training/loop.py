"""The training loop, the same for every task, architecture and regularizer."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.statistics import updated
from harness.record import CurvePoint, Status
from harness.regularizers.base import Regularizer
from harness.seeding import generator
from harness.suite.model import Training
from harness.tasks.base import Task
from harness.training.batches import Batches
from harness.training.compilation import Compiler, Step
from harness.training.contract import check_calls
from harness.training.optimizer import Optimizer, clip, norms, schedule_factor
from harness.training.stack import Stack


@dataclass(frozen=True)
class Trained:
    """How the training of one network ended.

    Attributes:
        status: ``ok``, or ``diverged`` where the loss, the gradient, or at the end the weights
            or running statistics ceased to be finite.
        steps: Steps done; the weights are those after that many.
        curve: At each logged step the task's loss, the penalty before its weight where it is
            applied, the norm of the whole gradient, and the learning rate.
    """

    status: Status
    steps: int
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Member:
    """One network of a pack and what is its own.

    Attributes:
        flow: Trained in place.
        settings: Members may differ in learning rate, weight decay and gradient clip alone.
        regularizer: Members may differ in the weight alone, and not between 0 and more.
        seed: Of its noise.
    """

    flow: Bijection
    settings: Training
    regularizer: Regularizer
    seed: int


class Visitor(Protocol):
    """Who sees the networks while they are trained, and changes nothing of them."""

    def expects(self, step: int) -> bool:
        """Whether there is a visit after so many steps, 0 among them, the last one not."""

    def visit(self, step: int, numbers: Sequence[int]) -> bool:
        """See the members of these numbers; whether their training shall go on.

        Their networks hold the weights of now and are in evaluation mode. A member that has
        diverged is not shown any more.
        """


@contextmanager
def _evaluating(flows: Sequence[Bijection]) -> Iterator[None]:
    before = [(module, module.training) for flow in flows for module in flow.modules()]
    for flow in flows:
        flow.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _steps(
    stack: Stack, task: Task, regularizer: Regularizer, weights: Tensor
) -> tuple[Step, Step]:
    """Steps without and with the penalty: the losses, and the gradients in the stack."""

    def both(flow: Bijection, x: Tensor, *drawn: Tensor) -> tuple[Tensor, Tensor]:
        return task.loss(flow, x), regularizer.penalty(flow, x, *drawn)

    def plain(x: Tensor) -> tuple[Tensor, ...]:
        losses: Tensor = stack.run(task.loss, x)
        stack.differentiate(losses)
        return (losses,)

    def penalized(x: Tensor, *drawn: Tensor) -> tuple[Tensor, ...]:
        losses, penalties = stack.run(both, x, *drawn)
        stack.differentiate(losses + weights * penalties)
        return losses, penalties

    return plain, penalized


def _is_finite(flow: Bijection) -> bool:
    """Whether what training moves is finite: parameters, and buffers of blocks with an update."""
    moved = [*flow.parameters(), *(one for block in updated(flow) for one in block.buffers())]
    return all(bool(one.isfinite().all()) for one in moved)


@dataclass
class _Log:
    """The curve of one member, and how it ended once it has."""

    rate: float
    curve: list[CurvePoint] = field(default_factory=list)
    ended: Trained | None = None

    def add(self, step: int, values: dict[str, float], factor: float) -> None:
        self.curve += [CurvePoint(step, metric, value) for metric, value in values.items()]
        self.curve.append(CurvePoint(step, "learning_rate", self.rate * factor))

    def end(self, status: Status, step: int) -> None:
        self.ended = Trained(status, step, tuple(self.curve))


def _visited(
    steps: int,
    visitor: Visitor | None,
    stack: Stack,
    members: Sequence[Member],
    logs: Sequence[_Log],
) -> Iterator[int]:
    """The steps, with visits between them; they end where a visitor sees no more use in them."""
    for step in range(steps):
        if visitor and visitor.expects(step):
            stack.unstack()
            going = [number for number, log in enumerate(logs) if not log.ended]
            with _evaluating([members[number].flow for number in going]):
                if not visitor.visit(step, going):
                    return
        yield step


def train(
    members: Sequence[Member],
    task: Task,
    batches: Batches,
    compiler: Compiler | None = None,
    visitor: Visitor | None = None,
) -> list[Trained]:
    """Train the members of a pack in place, as one program.

    Data-dependent initialisation first, on one batch of its own. A step whose loss or gradient
    norm is not finite is not taken: that member's training ends there as ``diverged``, with the
    weights as they are, which the step before may have left not finite; the others go on. They
    are probed like any others. After each step, blocks that follow the data see its batch, in a
    forward pass of their own (:meth:`Bijection.update`).

    Args:
        members: Trained in place.
        task: Whose loss is minimised.
        batches: Of every member.
        compiler: Compiles the steps, if there is one.
        visitor: Sees the networks between steps, if there is one; no number depends on it.

    Raises:
        ValueError: The network does not keep its contract (:func:`check_calls`).
    """
    settings, regularizer = members[0].settings, members[0].regularizer
    dtype = getattr(torch, settings.precision)
    for member, x in zip(members, batches.draw().to(dtype), strict=True):
        member.flow.to(dtype).train()
        member.flow.initialize(x)
    check_calls(members[0].flow, x[:16])
    stack = Stack([member.flow for member in members])
    optimizer = Optimizer(stack, [member.settings for member in members])
    noise = [generator(member.seed, "regularizer") for member in members]
    estimation = [generator(member.seed, "log-det") for member in members]
    weights = stack.parameters.new_tensor([member.regularizer.weight for member in members])
    largest = [member.settings.gradient_clip or math.inf for member in members]
    logs = [_Log(member.settings.learning_rate) for member in members]

    plain, penalized = _steps(stack, task, regularizer, weights)
    programs: dict[Step, Step] = {} if compiler else {plain: plain, penalized: penalized}
    done = 0
    for step in _visited(settings.steps, visitor, stack, members, logs):
        stack.resample(estimation)
        x = batches.draw().to(dtype)
        if regularizer.weight and step % regularizer.every == 0:
            drawn = [regularizer.draw(one, source) for one, source in zip(x, noise, strict=True)]
            arguments = [x, *map(torch.stack, zip(*drawn, strict=True))]
            work, names = penalized, ["loss", "penalty"]
        else:
            arguments, work, names = [x], plain, ["loss"]
        if compiler and work not in programs:
            programs[work] = compiler.compile(work, *arguments)
        shown = programs[work](*arguments)
        lengths = norms(stack.gradient)
        names.append("gradient_norm")
        # The one transfer of a step: what is decided and logged on the host.
        table = torch.stack([*(one.detach().double() for one in shown), lengths.double()]).tolist()
        logged = step % settings.log_every == 0 or step == settings.steps - 1
        factor = schedule_factor(settings, step)
        diverged = [not all(map(math.isfinite, column)) for column in zip(*table, strict=True)]
        for number in range(stack.size) if logged or any(diverged) else ():
            log = logs[number]
            if log.ended or not (logged or diverged[number]):
                continue
            log.add(step, dict(zip(names, (row[number] for row in table), strict=True)), factor)
            if diverged[number]:
                log.end(Status.DIVERGED, step)
                optimizer.freeze(number)
        if all(log.ended for log in logs):
            break
        clip(stack.gradient, table[-1], largest)
        optimizer.step(factor)
        stack.update(x, [log.ended is None for log in logs])
        done = step + 1
    stack.unstack()
    for log, member in zip(logs, members, strict=True):
        if not log.ended:
            # The last step came from a finite gradient, but nothing has looked at where it led.
            log.end(Status.OK if _is_finite(member.flow) else Status.DIVERGED, done)
    return [log.ended for log in logs if log.ended]
