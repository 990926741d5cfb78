"""What a loss is given beside inputs: targets, then the task's own random numbers."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.statistics import update_statistics
from harness.datasets.base import Dataset
from harness.gradients.functions import WAYS, of_samples
from harness.record import Status
from harness.regularizers.base import Regularizer
from harness.seeding import generator
from harness.suite.model import Training
from harness.tasks.base import Task
from harness.training.batches import Batches
from harness.training.loop import Member, Trained, train
from tests.cells import run_alone
from tests.tasks.test_every_task import make_cell

TOY: Dataset = registry.build("dataset", registry.resolve("dataset", "toy_regression"))
SEEDS = (0, 1, 2)


class Noisy(Task):
    """The error against a target that is moved by noise, NaN where a coin says so."""

    supervised = True

    def __init__(self, odds: float = 0.0) -> None:
        self.odds = odds

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        coin = torch.rand((), generator=generator)
        return torch.randn(x.shape, generator=generator).to(x), coin.to(x)

    def loss(self, model: Bijection, x: Tensor, *others: Tensor) -> Tensor:
        y, noise, coin = others
        z, _ = model(x)
        lost: Tensor = (coin - self.odds).sqrt() * 0
        total: Tensor = ((z - y - noise) ** 2).mean() + lost * z.mean()
        return total


@dataclass(frozen=True)
class Pull:
    """Towards drawn numbers, which come after the task's."""

    weight: float = 0.1
    every: int = 2

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.rand(x.shape, generator=generator).to(x),)

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        (goal,) = drawn
        distance: Tensor = ((flow(x)[0] - goal) ** 2).mean()
        return distance


NETWORK = {"name": "affine", "couplings": 2, "width": 4, "batch_norm": True}
"""With running statistics, which a step that is left out leaves, too."""


def flow_of(seed: int) -> Bijection:
    choice = registry.resolve("architecture", NETWORK)
    flow: Bijection = registry.build("architecture", choice, (2,), generator(seed, "init"))
    return flow


def settings(**more: object) -> Training:
    given = {"steps": 30, "batch_size": 8, "precision": "float64", "log_every": 1, **more}
    return Training.model_validate({"learning_rate": 1e-2, "gradient_clip": None, **given})


def run(
    seeds: tuple[int, ...], task: Task, regularizer: Regularizer, training: Training
) -> tuple[list[Bijection], list[Trained]]:
    splits = TOY.read()
    pack = [Member(flow_of(seed), training, regularizer, seed) for seed in seeds]
    batches = Batches(TOY, splits.train, 8, seeds, splits.train_targets)
    ended = train(pack, task, batches)
    return [member.flow for member in pack], ended


def by_hand(seed: int, odds: float, regularizer: Regularizer, training: Training) -> Bijection:
    """The loop written out, with PyTorch's Adam; steps that are lost are left out."""
    splits = TOY.read()
    assert splits.train_targets is not None
    batches = Batches(TOY, splits.train, 8, [seed], splits.train_targets)
    flow = flow_of(seed).double()
    flow.initialize(batches.draw()[0][0].double())
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2, foreach=False, fused=False)
    chance, noise = generator(seed, "task"), generator(seed, "regularizer")
    for step in range(training.steps):
        x, y = (one[0].double() for one in batches.draw())
        coin = float(torch.rand((), generator=chance))
        moved = torch.randn(x.shape, generator=chance).double()
        z, _ = flow(x)
        loss = ((z - y - moved) ** 2).mean()
        if step % regularizer.every == 0:
            goal = torch.rand(x.shape, generator=noise).double()
            loss = loss + regularizer.weight * ((z - goal) ** 2).mean()
        if coin < odds:
            continue
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update_statistics(flow, x)
    return flow


def state(flow: Bijection) -> Tensor:
    return torch.cat([one.detach().flatten() for one in flow.state_dict().values()])


@pytest.mark.parametrize("seeds", [(0,), SEEDS], ids=["alone", "pack"])
@pytest.mark.parametrize("odds", [0.0, 0.3])
def test_a_loss_gets_targets_then_draws_and_lost_steps_are_left_out(
    seeds: tuple[int, ...], odds: float
) -> None:
    training = settings(non_finite="skip")
    flows, ended = run(seeds, Noisy(odds), Pull(), training)
    for seed, flow, one in zip(seeds, flows, ended, strict=True):
        expected = by_hand(seed, odds, Pull(), training)
        torch.testing.assert_close(state(flow), state(expected), rtol=1e-8, atol=1e-9)
        source, lost = generator(seed, "task"), []
        for _ in range(training.steps):
            lost.append(float(torch.rand((), generator=source)) < odds)
            torch.randn(8, 2, generator=source)
        assert any(lost) == bool(odds)
        assert (one.status, one.steps) == (Status.OK, training.steps)
        assert one.counts == {"skipped_steps": (sum(lost), training.steps)}
        shown = {p.step: p.value for p in one.curve if p.metric == "skipped_steps"}
        assert shown == {step: sum(lost[: step + 1]) for step in range(training.steps)}
        losses = {p.step: p.value for p in one.curve if p.metric == "loss"}
        assert [loss != loss for loss in losses.values()] == lost  # noqa: PLR0124 - NaN


def test_by_default_the_first_such_step_ends_training() -> None:
    _, skipped = run(SEEDS, Noisy(0.1), Pull(), settings(non_finite="skip"))
    _, ended = run(SEEDS, Noisy(0.1), Pull(), settings())
    for one, other in zip(skipped, ended, strict=True):
        first = next(p.step for p in one.curve if p.metric == "skipped_steps" and p.value == 1)
        assert (other.status, other.steps, other.counts) == (Status.DIVERGED, first, {})
        assert not any(p.metric == "skipped_steps" for p in other.curve)


def test_weights_that_are_lost_are_a_divergence_however_many_steps_are_skipped() -> None:
    training = settings(non_finite="skip", learning_rate=1e300, weight_decay=1e300, steps=4)
    _, (ended,) = run((0,), Noisy(), Pull(), training)
    assert ended.status is Status.DIVERGED
    assert ended.steps == 4
    assert ended.counts == {"skipped_steps": (3, 4)}


def test_skipped_steps_are_stored_where_steps_may_be_skipped() -> None:
    cell = make_cell("regression", "affine", "none", "toy_regression")
    skipping = cell.model_copy(
        update={"training": cell.training.model_copy(update={"non_finite": "skip"})}
    )
    found = [
        [m for m in run_alone(one).measurements if m.probe == "training"]
        for one in (cell, skipping)
    ]
    assert found[0] == []
    ((only,),) = found[1:]
    assert (only.metric, only.inputs, only.precision) == ("skipped_steps", "none", "float64")
    assert (only.value, only.count, only.step) == (0, 10, 10)


def test_a_probe_differentiates_a_loss_that_draws_as_it_draws_always() -> None:
    task, flow = Noisy(), flow_of(0).double()
    splits = TOY.read()
    assert splits.test_targets is not None
    x, y = splits.test[:5].double(), splits.test_targets[:5].double()
    first, second = (task.probed_loss(flow, x, y) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, task.loss(flow, x, y, torch.zeros_like(x), x.new_ones(())))
    each = of_samples(WAYS["autograd"], flow, task.probed_loss, x, y)
    for number in range(5):
        part = slice(number, number + 1)
        alone = torch.autograd.grad(
            task.probed_loss(flow, x[part], y[part]), list(flow.parameters()), allow_unused=True
        )
        for gradient, own in zip(each.values(), alone, strict=True):
            torch.testing.assert_close(gradient[number], own)
