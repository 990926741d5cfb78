import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.datasets.base import Dataset
from harness.record import Status
from harness.regularizers.base import Regularizer
from harness.seeding import generator
from harness.suite.model import Training
from harness.training.batches import Batches
from harness.training.loop import Member, Trained, train
from harness.training.optimizer import clip, norms
from tests.networks import gaussian, normal_log_prob

DATASET: Dataset = registry.build(
    "dataset", registry.resolve("dataset", {"name": "checkerboard", "size": 500})
)
NONE: Regularizer = registry.build("regularizer", registry.resolve("regularizer", "none"))


def run(
    settings: Training,
    *,
    seed: int = 0,
    regularizer: Regularizer = NONE,
    architecture: object = "additive",
    device: str = "cpu",
) -> tuple[Bijection, Trained]:
    choice = registry.resolve("architecture", architecture)
    flow: Bijection = registry.build("architecture", choice, (2,), generator(seed, "init"))
    flow.to(device)
    batches = Batches(DATASET, DATASET.read().train.to(device), settings.batch_size, [seed])
    task = registry.build("task", registry.resolve("task", "density"))
    (trained,) = train([Member(flow, settings, regularizer, seed)], task, batches)
    return flow, trained


def curve(trained: Trained, metric: str) -> dict[int, float]:
    return {point.step: point.value for point in trained.curve if point.metric == metric}


@dataclass
class Counting:
    weight: float = 1.0
    every: int = 3
    seen: list[int] = field(default_factory=list)

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        return ()

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x.new_zeros(())


def test_training_lowers_the_loss() -> None:
    _, trained = run(Training(steps=150, learning_rate=5e-3))
    losses = curve(trained, "loss")
    assert trained.status is Status.OK
    assert trained.steps == 150
    assert losses[149] < losses[0] - 0.1


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    settings = Training(steps=5)
    states = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)  # nothing may read the global generator
        states.append(run(settings, seed=seed)[0].state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_zero_steps_leave_the_initialised_network() -> None:
    flow, trained = run(Training(steps=0))
    assert trained == Trained(Status.OK, 0, ())
    z, _ = flow(DATASET.read().train)
    # ActNorm saw a batch: the latent is about normalised.
    assert 0.5 < float(z.detach().std()) < 2


def test_divergence_ends_training_with_finite_weights() -> None:
    flow, trained = run(
        Training(steps=500, learning_rate=30.0, gradient_clip=None),
        architecture={"name": "affine", "scale": "exp"},
    )
    assert trained.status is Status.DIVERGED
    assert trained.steps < 500
    assert all(parameter.isfinite().all() for parameter in flow.parameters())
    last = trained.curve[-1].step
    assert last == trained.steps
    numbers = (curve(trained, "loss")[last], curve(trained, "gradient_norm")[last])
    assert not all(math.isfinite(number) for number in numbers)


def test_the_penalty_is_applied_every_so_many_steps_and_not_at_weight_zero() -> None:
    regularizer = Counting()
    run(Training(steps=10, batch_size=16), regularizer=regularizer)
    assert regularizer.seen == [16] * 4  # steps 0, 3, 6, 9
    silent = Counting(weight=0.0)
    run(Training(steps=10), regularizer=silent)
    assert silent.seen == []


def test_gradient_clip_bounds_the_step() -> None:
    free, _ = run(Training(steps=1, gradient_clip=None))
    tiny, trained = run(Training(steps=1, gradient_clip=1e-12))
    start, _ = run(Training(steps=0))
    moved = [
        sum(
            float((a - b).detach().abs().sum())
            for a, b in zip(x.parameters(), start.parameters(), strict=True)
        )
        for x in (free, tiny)
    ]
    assert moved[1] < 1e-2 * moved[0]
    assert curve(trained, "gradient_norm")[0] > 1e-3  # the norm before clipping is what is logged


@pytest.mark.parametrize("largest", [1e-3, 1e3])
def test_the_clip_is_pytorchs_for_each_row(largest: float) -> None:
    gradient = gaussian(3, (5,))
    expected = [torch.nn.Parameter(torch.zeros(5, dtype=gradient.dtype)) for _ in gradient]
    for parameter, row in zip(expected, gradient, strict=True):
        parameter.grad = row.clone()
    found = norms(gradient)
    clip(gradient, found.tolist(), [largest] * 3)
    for parameter, row, norm in zip(expected, gradient, found, strict=True):
        total = torch.nn.utils.clip_grad_norm_(parameter, largest)
        assert float(norm) == pytest.approx(float(total))
        torch.testing.assert_close(row, parameter.grad, rtol=1e-4, atol=1e-12)


def test_cosine_schedule_and_logged_steps() -> None:
    _, trained = run(Training(steps=21, schedule="cosine", learning_rate=1e-2, log_every=10))
    rates = curve(trained, "learning_rate")
    assert list(rates) == [0, 10, 20]
    expected = [1e-2 * 0.5 * (1 + math.cos(math.pi * step / 21)) for step in rates]
    assert list(rates.values()) == pytest.approx(expected)


def test_a_batch_of_one_trains() -> None:
    flow, trained = run(Training(steps=3, batch_size=1))
    assert trained.status is Status.OK
    assert all(parameter.isfinite().all() for parameter in flow.parameters())


def test_a_gradient_whose_square_overflows_is_clipped_and_not_called_divergence() -> None:
    gradient = torch.tensor([[3e20, 4e20], [3.0, 4.0]])
    found = norms(gradient).tolist()
    assert found == pytest.approx([5e20, 5.0])
    clip(gradient, found, [1.0, math.inf])
    torch.testing.assert_close(gradient, torch.tensor([[0.6, 0.8], [3.0, 4.0]]))


def test_float64_trains_in_float64() -> None:
    flow, _ = run(Training(steps=2, precision="float64"))
    assert all(parameter.dtype == torch.float64 for parameter in flow.parameters())


def test_the_step_is_that_of_adam_written_by_hand() -> None:
    settings = Training(
        steps=3, batch_size=32, gradient_clip=None, precision="float64", weight_decay=0.1
    )
    flow, _ = run(settings)
    by_hand, _ = run(Training(steps=0, batch_size=32, precision="float64"))
    batches = Batches(DATASET, DATASET.read().train, 32, [0])
    batches.draw()  # the batch that initialised ActNorm
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-3, foreach=False, fused=False)
    for _ in range(3):
        z, log_det = by_hand(batches.draw()[0][0].double())
        loss = -(normal_log_prob(z).sum(1) + log_det).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in by_hand.parameters():
                parameter.mul_(1 - 1e-3 * 0.1)
        optimizer.step()
    for mine, theirs in zip(flow.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu_sees_the_same_batches() -> None:
    _, on_cpu = run(Training(steps=20, log_every=1))
    _, on_gpu = run(Training(steps=20, log_every=1), device="cuda")
    assert list(curve(on_gpu, "loss").values()) == pytest.approx(
        list(curve(on_cpu, "loss").values()), rel=1e-3
    )
