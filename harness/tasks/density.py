"""Density estimation by maximum likelihood."""

import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.likelihood import log_likelihood
from harness.datasets.base import Dataset
from harness.record import Measurement
from harness.registry import entry
from harness.tasks.base import Task, score


class Density(Task):
    """Minimise ``-E log p(x)``."""

    def loss(self, model: Bijection, x: Tensor, *others: Tensor) -> Tensor:
        """Mean negative log-likelihood, in nats an input."""
        return -log_likelihood(model, x).mean()

    @torch.no_grad()
    def evaluate(
        self, model: Bijection, x: Tensor, dataset: Dataset, step: int, *targets: Tensor
    ) -> list[Measurement]:
        """Vectors: ``negative_log_likelihood`` in nats. Images also ``bits_per_dim``.

        ``bits per dim = -log p(x) / (D ln 2) + log2(levels / (high - low))``: the density of the
        integer levels, so that a uniform model of k levels gives exactly ``log2 k``.
        """
        values = -log_likelihood(model, x).double()
        # One likelihood of -inf makes the mean infinite, as it should be.
        scores = [score("negative_log_likelihood", x, values.mean(), step)]
        if dataset.is_image() and dataset.levels is not None:
            per_dimension = values / (x[0].numel() * math.log(2))
            offset = math.log2(dataset.levels / (dataset.high - dataset.low))
            scores.append(score("bits_per_dim", x, (per_dimension + offset).mean(), step))
        return scores


@entry(version=1)
def density() -> Task:
    """Maximum likelihood under a standard normal latent."""
    return Density()
