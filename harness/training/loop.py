"""The training loop, the same for every task, architecture and regularizer."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from harness.backpropagation.guard import Counts
from harness.backpropagation.rebuilding import MemorySaving, guarded, memory_saving
from harness.bijections.base import Bijection
from harness.bijections.given import in_precision
from harness.bijections.headed import flow_of, rewrapped
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


class Count(NamedTuple):
    """How many, and of how many."""

    number: int
    of: int


@dataclass(frozen=True)
class Trained:
    """How the training of one network ended.

    Attributes:
        status: ``ok``, or ``diverged`` where the loss, the gradient, or at the end the weights
            or running statistics ceased to be finite.
        steps: Steps done; the weights are those after that many.
        curve: At each logged step the task's loss, the penalty before its weight where it is
            applied, the norm of the whole gradient, the learning rate, and where steps that are
            not finite are skipped, how many were until then.
        counts: By name, where the settings ask for it: ``skipped_steps``, of the steps, and
            ``recomputed_segments``, in which the inverse was not trusted, of all.
    """

    status: Status
    steps: int
    curve: tuple[CurvePoint, ...]
    counts: Mapping[str, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class Member:
    """One network of a pack and what is its own.

    Attributes:
        flow: Trained in place, with its head where the task has one.
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
    stack: Stack, task: Task, regularizer: Regularizer, weights: Tensor, given: int
) -> tuple[Step, Step]:
    """Steps without and with the penalty: the losses, and the gradients in the stack.

    The task's loss takes the first ``given`` arguments, and the penalty the inputs and the others.
    """

    def both(flow: Bijection, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        loss = task.loss(flow, *arguments[:given])
        return loss, regularizer.penalty(flow, arguments[0], *arguments[given:])

    def plain(*arguments: Tensor) -> tuple[Tensor, ...]:
        losses: Tensor = stack.run(task.loss, *arguments)
        stack.differentiate(losses)
        return (losses,)

    def penalized(*arguments: Tensor) -> tuple[Tensor, ...]:
        losses, penalties = stack.run(both, *arguments)
        stack.differentiate(losses + weights * penalties)
        return losses, penalties

    return plain, penalized


def _drawn(
    source: Task | Regularizer, x: Tensor, generators: Sequence[torch.Generator]
) -> list[Tensor]:
    """What it draws for each member's batch, stacked."""
    drawn = [source.draw(one, mine) for one, mine in zip(x, generators, strict=True)]
    return list(map(torch.stack, zip(*drawn, strict=True)))


def _is_finite(flow: Bijection) -> bool:
    """Whether what training moves is finite: parameters, and buffers of blocks with an update."""
    moved = [*flow.parameters(), *(one for block in updated(flow) for one in block.buffers())]
    return all(bool(one.isfinite().all()) for one in moved)


BACKPROPAGATIONS: dict[str, Callable[[Bijection], Bijection]] = {
    "autograd": lambda flow: flow,
    "memory_saving": memory_saving,
    "guarded": guarded,
}


def _differentiated(member: Member) -> Bijection:
    """A member's network, with the way to its gradient that its settings name."""
    return rewrapped(member.flow, BACKPROPAGATIONS[member.settings.backpropagation])


def _counts(flow: Bijection) -> Counts | None:
    flow = flow_of(flow)
    return flow.counts if isinstance(flow, MemorySaving) else None


@dataclass
class _Log:
    """The curve of one member, and how it ended once it has."""

    rate: float
    guarded: Counts | None = None
    curve: list[CurvePoint] = field(default_factory=list)
    skipped: int | None = None
    ended: Trained | None = None

    def add(self, step: int, values: dict[str, float], factor: float) -> None:
        self.curve += [CurvePoint(step, metric, value) for metric, value in values.items()]
        self.curve.append(CurvePoint(step, "learning_rate", self.rate * factor))
        if self.skipped is not None:
            self.curve.append(CurvePoint(step, "skipped_steps", self.skipped))

    def end(self, status: Status, step: int) -> None:
        counts = {}
        if self.skipped is not None:
            counts["skipped_steps"] = Count(self.skipped, step)
        if self.guarded is not None:
            found = self.guarded
            counts["recomputed_segments"] = Count(found.recomputed, found.segments)
        self.ended = Trained(status, step, tuple(self.curve), counts)


def _note(
    logs: Sequence[_Log],
    names: Sequence[str],
    table: Sequence[Sequence[float]],
    step: int,
    factor: float,
    *,
    logged: bool,
) -> set[int]:
    """Log a step, and count it or end training where its numbers are not finite.

    Args:
        logs: Of every member.
        names: Of the numbers.
        table: Each of the numbers, of every member.
        step: Which step.
        factor: What it multiplies learning rates by.
        logged: Whether it is a point of the curve.

    Returns:
        The members that do not take this step.
    """
    stay = set()
    for member, (log, *values) in enumerate(zip(logs, *table, strict=True)):
        lost = not all(map(math.isfinite, values))
        if lost or log.ended:
            stay.add(member)
        if log.ended:
            continue
        if lost and log.skipped is not None:
            log.skipped += 1
        ends = lost and log.skipped is None
        if logged or ends:
            log.add(step, dict(zip(names, values, strict=True)), factor)
        if ends:
            log.end(Status.DIVERGED, step)
    return stay


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
    are probed like any others. Where the settings skip such a step, weights, moments and
    statistics stay as they are, it is counted, and training goes on. After each other step, blocks
    that follow the data see its batch, in a forward pass of their own (:meth:`Bijection.update`).

    Whatever is drawn for a step comes from streams of a member's own seed: data, dequantization,
    estimates, the task's numbers, then the regularizer's.

    Args:
        members: Trained in place.
        task: Whose loss is minimised.
        batches: Of every member.
        compiler: Compiles the steps, if there is one.
        visitor: Sees the networks between steps, if there is one; no number depends on it.

    Raises:
        ValueError: The network does not keep its contract (:func:`check_calls`), or cannot be
            trained without its activations.
    """
    settings, regularizer = members[0].settings, members[0].regularizer
    dtype = getattr(torch, settings.precision)
    first = in_precision(dtype, batches.draw())
    for member, x in zip(members, first[0], strict=True):
        member.flow.to(dtype).train()
        member.flow.initialize(x)
    check_calls(members[0].flow, first[0][-1][:16])
    trained = [_differentiated(member) for member in members]
    stack = Stack(trained)
    optimizer = Optimizer(stack, [member.settings for member in members])
    noise = [generator(member.seed, "regularizer") for member in members]
    chance = [generator(member.seed, "task") for member in members]
    estimation = [generator(member.seed, "log-det") for member in members]
    weights = stack.parameters.new_tensor([member.regularizer.weight for member in members])
    largest = [member.settings.gradient_clip or math.inf for member in members]
    skips = settings.non_finite == "skip"
    logs = [
        _Log(one.settings.learning_rate, _counts(flow), skipped=0 if skips else None)
        for one, flow in zip(members, trained, strict=True)
    ]

    given = len(first) + len(task.draw(first[0][0], torch.Generator()))
    plain, penalized = _steps(stack, task, regularizer, weights, given)
    programs: dict[Step, Step] = {} if compiler else {plain: plain, penalized: penalized}
    done = 0
    for step in _visited(settings.steps, visitor, stack, members, logs):
        stack.resample(estimation)
        x, *targets = in_precision(dtype, batches.draw())
        arguments, work, names = [x, *targets, *_drawn(task, x, chance)], plain, ["loss"]
        if regularizer.weight and step % regularizer.every == 0:
            arguments += _drawn(regularizer, x, noise)
            work, names = penalized, ["loss", "penalty"]
        if compiler and work not in programs:
            programs[work] = compiler.compile(work, *arguments)
        shown = programs[work](*arguments)
        lengths = norms(stack.gradient)
        names.append("gradient_norm")
        # The one transfer of a step: what is decided and logged on the host.
        table = torch.stack([*(one.detach().double() for one in shown), lengths.double()]).tolist()
        logged = step % settings.log_every == 0 or step == settings.steps - 1
        factor = schedule_factor(settings, step)
        stay = _note(logs, names, table, step, factor, logged=logged)
        if all(log.ended for log in logs):
            break
        clip(stack.gradient, table[-1], largest)
        optimizer.step(factor, without=stay)
        stack.update(x, [number not in stay for number in range(stack.size)])
        done = step + 1
    stack.unstack()
    for log, member in zip(logs, members, strict=True):
        if not log.ended:
            # The last step came from a finite gradient, but nothing has looked at where it led.
            log.end(Status.OK if _is_finite(member.flow) else Status.DIVERGED, done)
    return [log.ended for log in logs if log.ended]
