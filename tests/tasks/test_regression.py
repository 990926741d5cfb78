"""Regression: its score against scikit-learn's, and where the paper's toy ends by arithmetic."""

import math

import pytest
import torch
from sklearn.metrics import mean_squared_error

from harness import registry
from harness.bijections.linear.actnorm import ActNorm
from harness.datasets.base import Dataset
from harness.regularizers.base import Regularizer
from harness.seeding import generator
from harness.training.batches import Batches
from tests.networks import gaussian

TOY: Dataset = registry.build("dataset", registry.resolve("dataset", "toy_regression"))
TASK = registry.build("task", registry.resolve("task", "regression"))


def test_the_toys_target_forgets_one_entry_and_keeps_the_other() -> None:
    splits = TOY.read()
    for x, y in ((splits.train, splits.train_targets), (splits.test, splits.test_targets)):
        assert y is not None
        assert y.dtype == torch.float32
        assert torch.equal(y[:, 1], x[:, 1])
        assert not y[:, 0].any()
    assert TOY.target_dimensions == 2
    assert splits.train.mean(0).tolist() == pytest.approx([0, 0], abs=0.03)
    assert splits.train.T.cov().flatten().tolist() == pytest.approx([1, 0, 0, 1], abs=0.03)


def test_the_error_is_that_of_scikit_learn() -> None:
    norm = ActNorm(3).double()
    with torch.no_grad():
        norm.log_scale.copy_(torch.tensor([0.3, -0.7, 0.2]))
    x, y = gaussian(40, (3,)), gaussian(40, (3,), seed=1)
    expected = float(mean_squared_error(y.numpy(), norm(x)[0].detach().numpy()))
    (found,) = TASK.evaluate(norm, x, TOY, 5, y)
    assert (found.metric, found.value) == ("mean_squared_error", pytest.approx(expected))
    assert float(TASK.loss(norm, x, y).detach()) == pytest.approx(expected)


@pytest.mark.parametrize("weight", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize(
    ("name", "power"), [("normalizing_flow", 1 / 2), ("finite_difference", 1 / 4)]
)
def test_a_linear_map_stops_where_the_weight_says(name: str, power: float, weight: float) -> None:
    """``½ s² - λ log s`` is least at √λ, and ``½ (s² + λ / s²)`` at λ^(1/4), but for O(λ)."""
    choice = registry.resolve("regularizer", {"name": name, "weight": weight})
    regularizer: Regularizer = registry.build("regularizer", choice)
    splits = TOY.read()
    x, y = splits.train.double(), splits.train_targets
    drawn = regularizer.draw(x, generator(0, "directions"))

    def slope(scale: float) -> float:
        norm = ActNorm(2).double()
        with torch.no_grad():
            norm.log_scale[0] = math.log(scale)
        loss = TASK.loss(norm, x, y) + weight * regularizer.penalty(norm, x, *drawn)
        (found,) = torch.autograd.grad(loss, norm.log_scale)
        return float(found[0])

    assert slope(0.95 * weight**power) < 0 < slope(1.05 * weight**power)


def test_batches_keep_inputs_and_targets_together() -> None:
    splits = TOY.read()
    batches = Batches(TOY, splits.train, 5000, [0, 1], splits.train_targets)
    for _ in range(3):
        x, y = batches.draw()
        assert x.shape == y.shape == (2, 5000, 2)
        assert torch.equal(x[..., 1], y[..., 1])
    (alone,) = Batches(TOY, splits.train, 5000, [0, 1]).draw()
    assert torch.equal(alone, Batches(TOY, splits.train, 5000, [0, 1], splits.train).draw()[0])
    assert not torch.equal(alone[0], alone[1])
    source = generator(1, "data order")
    chosen = torch.randint(len(splits.train), (5000,), generator=source)
    assert torch.equal(alone[1], splits.train[chosen])
