"""Adversarial training of a flow as a generator."""

import math
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from harness.bijections.base import Bijection
from harness.bijections.coupling.networks import mlp
from harness.bijections.headed import Head
from harness.bijections.likelihood import log_likelihood
from harness.datasets.base import Dataset
from harness.record import Measurement
from harness.registry import entry
from harness.tasks.base import Task, score

COMPARED = 1024
"""Most samples, and most test inputs, whose distances are taken."""


class Discriminator(Head):
    """``D(x)``, ``(B, …) → (B, 1)``: the larger, the more it takes x for data.

    A head that reads inputs, not latents.
    """

    def __init__(self, dimension: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.network = mlp(dimension, 1, width, 2, generator)

    def forward(self, z: Tensor) -> Tensor:
        scores: Tensor = self.network(z.flatten(1))
        return scores


class Adversarial(Task):
    """See :func:`adversarial`."""

    def __init__(self, likelihood: float, penalty: float, width: int) -> None:
        self.likelihood, self.penalty, self.width = likelihood, penalty, width

    def head(self, dataset: Dataset, generator: torch.Generator) -> Head:
        """The discriminator: a perceptron with two hidden layers."""
        return Discriminator(math.prod(dataset.shape), self.width, generator)

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Latents of as many samples as the batch has inputs."""
        return (torch.randn(x.flatten(1).shape, generator=generator, dtype=torch.float64).to(x),)

    def loss(self, model: Bijection, x: Tensor, *others: Tensor) -> Tensor:
        """What both players minimise, each by its own weights, in one sum.

        The generator's ``E softplus(-D(F⁻¹(z)))``, with D's weights held; the discriminator's
        ``E softplus(-D(x)) + E softplus(D(F⁻¹(z))) + γ/2 E ‖∇D(x)‖²``, with the sample held; and
        ``λ`` times the negative log-likelihood in nats. Both move at once.
        """
        (z,) = others
        discriminate = cast(nn.Module, model.head)
        held = {name: weight.detach() for name, weight in discriminate.named_parameters()}
        sample, _ = model.inverse(z)
        generator = F.softplus(-functional_call(discriminate, held, (sample,))).mean()
        slopes = torch.func.grad(lambda x: discriminate(x).sum())(x)
        discriminator = (
            F.softplus(-discriminate(x)).mean()
            + F.softplus(discriminate(sample.detach())).mean()
            + self.penalty / 2 * (slopes.flatten(1) ** 2).sum(1).mean()
        )
        loss: Tensor = generator + discriminator
        if self.likelihood:
            loss = loss - self.likelihood * log_likelihood(model, x).mean()
        return loss

    @torch.no_grad()
    def evaluate(
        self, model: Bijection, x: Tensor, dataset: Dataset, step: int, *targets: Tensor
    ) -> list[Measurement]:
        """``negative_log_likelihood`` of the test inputs in nats, and of as many samples
        ``energy_distance`` to them and ``sample_non_finite_fraction``.

        ``2 E ‖a - b‖ - E ‖a - a'‖ - E ‖b - b'‖`` between samples and inputs; a sample that is not
        finite makes it so.
        """  # noqa: D205
        few = x[:COMPARED]
        (z,) = self.draw(few, torch.Generator())
        sample, _ = model.inverse(z)
        lost = 1 - float(sample.flatten(1).isfinite().all(1).double().mean())
        a, b = sample.flatten(1).double(), few.flatten(1).double()
        distance = 2 * torch.cdist(a, b).mean() - _apart(a) - _apart(b)
        values = -log_likelihood(model, x).double()
        return [
            score("negative_log_likelihood", x, values.mean(), step),
            score("energy_distance", few, distance, step),
            score("sample_non_finite_fraction", few, lost, step),
        ]


def _apart(x: Tensor) -> Tensor:
    """Mean distance of two different rows."""
    return torch.cdist(x, x).sum() / (len(x) * max(1, len(x) - 1))


@entry(version=1, uses=("forward", "inverse"))
def adversarial(
    *,
    likelihood: Annotated[float, Field(ge=0)] = 0.0,
    penalty: Annotated[float, Field(ge=0)] = 1.0,
    width: Annotated[int, Field(ge=1)] = 64,
) -> Task:
    """Flow-GAN: the inverse as a generator against a discriminator (arXiv 1705.08868).

    Non-saturating, with the discriminator's gradient on data penalised by γ = ``penalty`` (R1,
    arXiv 1801.04406); ``likelihood`` λ > 0 adds maximum likelihood, the hybrid. Without it nothing
    asks that data have a latent: the forward map overflows on data whose samples look right (arXiv
    2006.09347, §4.6). One optimiser moves both players at once.
    """
    return Adversarial(likelihood, penalty, width)
