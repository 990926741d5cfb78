"""Classification by an invertible network."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.coupling.networks import linear
from harness.bijections.headed import Head
from harness.datasets.base import Dataset
from harness.record import Measurement
from harness.registry import Combination, entry
from harness.tasks.base import Task, score

EPSILON, MOMENTUM = 1e-5, 0.1
"""Of the batch norm, as is usual."""


class ClassifierHead(Head):
    """``A relu(γ (z - μ) / √(v + ε) + β) + b``, ``(B, …) → (B, classes)``, for each entry of z.

    In training μ and v are mean and variance of the batch, and gradients flow through them; in
    evaluation they are running ones, which :meth:`update` moves, so that what the head says of an
    input does not depend on its batch.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, dimension: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("variance", torch.ones(dimension))
        self.scale = nn.Parameter(torch.ones(dimension))
        self.bias = nn.Parameter(torch.zeros(dimension))
        self.linear = linear(dimension, classes, generator)

    def forward(self, z: Tensor) -> Tensor:
        z = z.flatten(1)
        mean, variance = _moments(z) if self.training else (self.mean, self.variance)
        normed = self.scale * (z - mean) / (variance + EPSILON).sqrt() + self.bias
        scores: Tensor = self.linear(F.relu(normed))
        return scores

    @torch.no_grad()
    def update(self, z: Tensor, momentum: float = MOMENTUM) -> None:
        """Move the running statistics towards those of a batch."""
        mean, variance = _moments(z.flatten(1))
        self.mean.lerp_(mean, momentum)
        self.variance.lerp_(variance, momentum)

    def initialize(self, z: Tensor) -> None:
        self.update(z, momentum=1.0)


def _moments(z: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(z, 0, correction=0)
    return mean, variance


class Classification(Task):
    """Minimise the cross-entropy of ``softmax(head(F(x)))``."""

    supervised = True

    def head(self, dataset: Dataset, generator: torch.Generator) -> Head:
        """Batch norm, ReLU and a linear layer on the whole latent."""
        if dataset.classes is None:
            raise ValueError(f"{dataset.name} has no classes")
        return ClassifierHead(math.prod(dataset.shape), dataset.classes, generator)

    def loss(self, model: Bijection, x: Tensor, *others: Tensor) -> Tensor:
        """``-mean_b log p(class_b | x_b)`` in nats; the classes are int64 ``(B,)``."""
        (classes,) = others
        return F.cross_entropy(_scores(model, x), classes)

    @torch.no_grad()
    def evaluate(
        self, model: Bijection, x: Tensor, dataset: Dataset, step: int, *targets: Tensor
    ) -> list[Measurement]:
        """``accuracy`` a, ``accuracy_standard_error`` ``√(a (1 - a) / N)``, ``cross_entropy``.

        An input of which a score is not finite counts as misclassified.
        """
        (classes,) = targets
        scores = _scores(model, x).double()
        right = (scores.argmax(1) == classes) & scores.isfinite().all(1)
        accuracy = float(right.double().mean())
        error = math.sqrt(accuracy * (1 - accuracy) / len(x)) if len(x) else math.nan
        return [
            score("accuracy", x, accuracy, step),
            score("accuracy_standard_error", x, error, step),
            score("cross_entropy", x, F.cross_entropy(scores, classes), step),
        ]


def _scores(model: Bijection, x: Tensor) -> Tensor:
    z, _ = model(x)
    found: Tensor = model.head(z)  # type: ignore[operator]
    return found


def _refuses(combination: Combination) -> str | None:
    dataset: Dataset = registry.build("dataset", combination.dataset)
    if dataset.classes is not None:
        return None
    return (
        f"classification needs a class for each input, and {dataset.name} has none; take a "
        "dataset with labels, such as digits, or the task density"
    )


@entry(version=1, refuses=_refuses)
def classification() -> Task:
    """Cross-entropy of a head on the latent: batch norm, ReLU, linear (arXiv 2006.09347).

    Nothing in it asks that the inverse be stable: without a regularizer it explodes.
    """
    return Classification()
