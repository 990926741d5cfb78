"""A flow against a discriminator: each player's loss and gradient, and the scores."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.headed import Headed, flow_of, with_head
from harness.bijections.linear.actnorm import ActNorm
from harness.datasets.base import Dataset
from harness.seeding import generator
from harness.tasks.adversarial import Adversarial
from tests.networks import gaussian, normal_log_prob

DATASET: Dataset = registry.build("dataset", registry.resolve("dataset", "eight_gaussians"))


def built(**parameters: object) -> tuple[Headed, Adversarial]:
    task = registry.build("task", registry.resolve("task", {"name": "adversarial", **parameters}))
    flow = ActNorm(2)
    with torch.no_grad():
        flow.log_scale.copy_(torch.tensor([0.4, -0.7]))
        flow.bias.copy_(torch.tensor([0.3, 0.1]))
    model = with_head(flow, task.head(DATASET, generator(0, "head"))).double()
    assert isinstance(model, Headed)
    return model, task


@pytest.mark.parametrize("likelihood", [0.0, 0.3])
def test_each_player_minimises_its_own(likelihood: float) -> None:
    model, task = built(likelihood=likelihood, penalty=2.0)
    x, z = gaussian(6, (2,)), gaussian(6, (2,), 1)
    loss = task.loss(model, x, z)
    flow, head = flow_of(model), model.head
    sample = flow.inverse(z)[0]
    generator_loss = F.softplus(-head(sample)).mean()
    latent, log_det = flow(x)
    log_likelihood = (normal_log_prob(latent).sum(1) + log_det).mean()
    own = generator_loss - likelihood * log_likelihood
    at = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(head(at).sum(), at, create_graph=True)
    other = (
        (1 + (-head(x)).exp()).log().mean()
        + (1 + head(sample.detach()).exp()).log().mean()
        + (slope**2).sum(1).mean()
    )
    assert float(loss.detach()) == pytest.approx(float((own + other).detach()))
    for module, alone in ((flow, own), (head, other)):
        weights = list(module.parameters())
        ours = torch.autograd.grad(loss, weights, retain_graph=True)
        theirs = torch.autograd.grad(alone, weights, retain_graph=True)
        torch.testing.assert_close(ours, theirs)


def test_scores() -> None:
    model, task = built()
    x = gaussian(50, (2,))
    found = {one.metric: one.value for one in task.evaluate(model, x, DATASET, 3)}
    (z,) = task.draw(x, torch.Generator())
    sample = flow_of(model).inverse(z)[0].detach().numpy()
    data = x.numpy()

    def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        distance: np.ndarray = np.linalg.norm(a[:, None] - b[None], axis=2)
        return distance

    pairs = 50 * 49
    expected = (
        2 * apart(sample, data).mean()
        - apart(sample, sample).sum() / pairs
        - apart(data, data).sum() / pairs
    )
    assert found["energy_distance"] == pytest.approx(float(expected))
    assert found["sample_non_finite_fraction"] == 0
    latent, log_det = flow_of(model)(x)
    right = -(normal_log_prob(latent).sum(1) + log_det).mean()
    assert found["negative_log_likelihood"] == pytest.approx(float(right.detach()))


class Torn(ActNorm):
    """Its inverse is NaN where the latent is negative."""

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse(y)
        return torch.where(y[:, :1] < 0, torch.nan, x), log_det


def test_samples_that_are_lost_are_counted_and_never_left_out() -> None:
    _, task = built()
    flow: Bijection = Torn(2).double()
    model = with_head(flow, task.head(DATASET, generator(0, "head"))).double()
    x = gaussian(200, (2,))
    found = {one.metric: one.value for one in task.evaluate(model, x, DATASET, 3)}
    assert 0.3 < found["sample_non_finite_fraction"] < 0.7
    assert math.isnan(found["energy_distance"])
