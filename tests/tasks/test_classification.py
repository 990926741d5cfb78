"""The classifier against PyTorch's own layers, and its scores against scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.headed import Headed, with_head
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.statistics import update_statistics
from harness.datasets.base import Dataset
from harness.record import Measurement
from harness.seeding import generator
from harness.tasks.classification import ClassifierHead
from tests.conformance import check_bounds, check_round_trip
from tests.networks import gaussian, network

DIGITS: Dataset = registry.build("dataset", registry.resolve("dataset", "digits"))
TASK = registry.build("task", registry.resolve("task", "classification"))


def model(seed: int = 0, dimension: int = 6, classes: int = 4) -> Headed:
    head = ClassifierHead(dimension, classes, generator(seed, "head"))
    return Headed(ActNorm(dimension), head).double()


class Widened(Bijection):
    """``y = 5 x + 2``: what follows a normalisation is not normalised."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 5 * x + 2, x.new_full((len(x),), x.shape[1] * math.log(5))


def by_pytorch(head: ClassifierHead) -> nn.Sequential:
    """The same head of PyTorch's layers, which keep their statistics in the call."""
    classes, dimension = head.linear.weight.shape
    norm, linear = nn.BatchNorm1d(dimension), nn.Linear(dimension, classes)
    with torch.no_grad():
        norm.weight.copy_(head.scale)
        norm.bias.copy_(head.bias)
        linear.weight.copy_(head.linear.weight)
        linear.bias.copy_(head.linear.bias)
    return nn.Sequential(norm, nn.ReLU(), linear).double()


def scores(model: Bijection, x: Tensor, y: Tensor) -> dict[str, Measurement]:
    return {m.metric: m for m in TASK.evaluate(model, x, DIGITS, 7, y)}


def test_the_head_is_batch_norm_relu_linear_and_its_statistics_follow_the_data() -> None:
    ours = model()
    with torch.no_grad():
        ours.head.scale.copy_(gaussian(1, (6,))[0])  # type: ignore[operator]
        ours.head.bias.copy_(gaussian(1, (6,), seed=1)[0])  # type: ignore[operator]
    theirs = by_pytorch(ours.head)  # type: ignore[arg-type]
    for number in range(5):
        x = gaussian(20, (6,), seed=number, scale=3) + number
        ours.train()
        torch.testing.assert_close(ours.head(ours(x)[0]), theirs.train()(x))
        update_statistics(ours, x)
        ours.eval()
        # PyTorch's running variance is the unbiased one, here by 20/19.
        norm = theirs[0]
        assert torch.allclose(ours.head.mean, norm.running_mean)  # type: ignore[arg-type]
    expected = 0.9**5 + sum(
        0.1 * 0.9 ** (4 - n) * (gaussian(20, (6,), seed=n, scale=3)).var(0, correction=0)
        for n in range(5)
    )
    torch.testing.assert_close(ours.head.variance, expected)
    x = gaussian(9, (6,))
    theirs[0].running_var = ours.head.variance.clone()  # type: ignore[operator]
    torch.testing.assert_close(ours.head(x), theirs.eval()(x))
    # In evaluation no input's scores depend on the others.
    torch.testing.assert_close(ours.head(x)[:1], ours.head(x[:1]))


def test_a_first_batch_initialises_flow_and_head() -> None:
    ours, x = model(), gaussian(50, (6,), scale=4) + 3
    ours.flow = Chain([ActNorm(6).double(), Widened()])
    z = ours.initialize(x)
    torch.testing.assert_close(z, ours(x)[0])
    torch.testing.assert_close(ours.head.mean, z.mean(0))
    torch.testing.assert_close(ours.head.variance, z.var(0, correction=0))


@pytest.mark.parametrize(
    "case", ["affine(scale=exp, couplings=4) on 5", "residual(blocks=2, width=8) on 5"]
)
def test_as_a_bijection_a_model_is_its_flow(case: str) -> None:
    flow, shape = network(case)
    headed = with_head(flow, ClassifierHead(5, 3, generator(0, "h"))).double()
    x = gaussian(6, shape)
    check_round_trip(headed, x, tolerance=1e-6)
    check_bounds(headed, x)
    assert headed.bounds() == flow.bounds()
    box = Box(x.amin(0), x.amax(0))
    for ours, theirs in zip(headed.image(box) or (), flow.image(box) or (), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(
        headed.inverse_with_convergence(x)[2], flow.inverse_with_convergence(x)[2], strict=True
    ):
        assert torch.equal(ours, theirs)
    assert headed.is_affine == flow.is_affine
    assert with_head(flow, None) is flow


def test_scores_are_those_of_scikit_learn() -> None:
    ours, x = model().eval(), gaussian(200, (6,), scale=2)
    y = torch.arange(200) % 4
    probabilities = ours.head(ours(x)[0]).softmax(1).detach().numpy()
    found = scores(ours, x, y)
    accuracy = float(accuracy_score(y.numpy(), probabilities.argmax(1)))
    assert 0 < accuracy < 1
    assert found["accuracy"].value == pytest.approx(accuracy)
    spread = float(np.std(probabilities.argmax(1) == y.numpy()))
    assert found["accuracy_standard_error"].value == pytest.approx(spread / math.sqrt(200))
    loss = float(log_loss(y.numpy(), probabilities, labels=range(4)))
    assert found["cross_entropy"].value == pytest.approx(loss)
    assert float(TASK.loss(ours, x, y).detach()) == pytest.approx(loss)
    for m in found.values():
        assert (m.probe, m.inputs, m.precision, m.count, m.step) == (
            "task",
            "test",
            "float64",
            200,
            7,
        )


@pytest.mark.parametrize("lost", [torch.nan, torch.inf])
def test_what_is_lost_is_misclassified(lost: float) -> None:
    ours, x = model(), gaussian(8, (6,))
    ours.train()
    ours.initialize(x)
    ours.eval()
    y = ours.head(ours(x)[0]).argmax(1)
    assert scores(ours, x, y)["accuracy"].value == 1
    x[2] = lost
    found = scores(ours, x, ours.head(ours(x)[0]).argmax(1))
    assert found["accuracy"].value == 7 / 8
    assert found["cross_entropy"].status == "nan"


def test_digits_are_labelled_by_what_they_show() -> None:
    splits = DIGITS.read()
    theirs = load_digits()
    assert DIGITS.classes == 10
    assert splits.train_targets is not None
    assert splits.test_targets is not None
    labels = torch.cat([splits.train_targets, splits.test_targets])
    assert labels.dtype == torch.int64
    assert labels.tolist() == theirs.target.tolist()
    images = torch.cat([splits.train, splits.test])
    assert (images.squeeze(1).numpy() == theirs.images).all()
