"""Density estimation by maximum likelihood."""

import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.likelihood import log_likelihood
from harness.datasets.base import Dataset
from harness.record import Measurement
from harness.registry import entry
from harness.tasks.base import Task


class Density(Task):
    """Minimise ``-E log p(x)``."""

    def loss(self, flow: Bijection, x: Tensor) -> Tensor:
        """Mean negative log-likelihood, in nats an input."""
        return -log_likelihood(flow, x).mean()

    @torch.no_grad()
    def evaluate(
        self, flow: Bijection, x: Tensor, dataset: Dataset, step: int
    ) -> list[Measurement]:
        """Vectors: ``negative_log_likelihood`` in nats. Images also ``bits_per_dim``.

        ``bits per dim = -log p(x) / (D ln 2) + log2(levels / (high - low))``: the density of the
        integer levels, so that a uniform model of k levels gives exactly ``log2 k``.
        """
        values = -log_likelihood(flow, x).double()
        dtype, count = str(x.dtype).removeprefix("torch."), len(x)

        def score(metric: str, per_input: Tensor) -> Measurement:
            # One likelihood of -inf makes the mean infinite, as it should be.
            value = float(per_input.mean())
            return Measurement.of("task", metric, "test", dtype, value, count, step)

        scores = [score("negative_log_likelihood", values)]
        if dataset.is_image() and dataset.levels is not None:
            per_dimension = values / (x[0].numel() * math.log(2))
            offset = math.log2(dataset.levels / (dataset.high - dataset.low))
            scores.append(score("bits_per_dim", per_dimension + offset))
        return scores


@entry(version=1)
def density() -> Task:
    """Maximum likelihood under a standard normal latent."""
    return Density()
