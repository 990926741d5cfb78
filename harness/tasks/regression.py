"""Regression by an invertible network."""

import math

import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.datasets.base import Dataset
from harness.record import Measurement
from harness.registry import Combination, entry
from harness.tasks.base import Task, score


class Regression(Task):
    """Minimise ``mean (F(x) - y)²`` over samples and entries: the latent is the prediction."""

    supervised = True

    def loss(self, model: Bijection, x: Tensor, *others: Tensor) -> Tensor:
        """``1 / (B D) Σ_b ‖F(x_b) - y_b‖²``; the targets y are ``(B, D)``."""
        (y,) = others
        return _squares(model, x, y).mean()

    @torch.no_grad()
    def evaluate(
        self, model: Bijection, x: Tensor, dataset: Dataset, step: int, *targets: Tensor
    ) -> list[Measurement]:
        """``mean_squared_error``, the loss on the test inputs, summed in float64."""
        (y,) = targets
        return [score("mean_squared_error", x, _squares(model, x, y).double().mean(), step)]


def _squares(model: Bijection, x: Tensor, y: Tensor) -> Tensor:
    z, _ = model(x)
    squares: Tensor = (z.flatten(1) - y) ** 2
    return squares


def _refuses(combination: Combination) -> str | None:
    dataset: Dataset = registry.build("dataset", combination.dataset)
    dimensions, given = dataset.target_dimensions, math.prod(combination.shape)
    if dimensions is None:
        return (
            f"regression needs a target vector for each input, and {dataset.name} has none; take "
            "a dataset that has, such as toy_regression"
        )
    if dimensions != given:
        return (
            f"an invertible network gives as many numbers as it takes, {given}, and a target of "
            f"{dataset.name} has {dimensions}; take a dataset whose targets are as long as its "
            "inputs"
        )
    return None


@entry(version=1, refuses=_refuses)
def regression() -> Task:
    """Mean squared error of the latent against a target vector (arXiv 2006.09347).

    A target that is no invertible function of the input drives a singular value to 0. With a
    regularizer of weight λ, where the error is the mean over two entries, it stops at
    ``σ_min = √λ`` (``normalizing_flow``) or ``λ^(1/4)`` (``finite_difference``).
    """
    return Regression()
