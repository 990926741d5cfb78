import math

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.actnorm import ActNorm
from harness.datasets.base import Dataset, Splits
from harness.record import NumberStatus
from harness.seeding import generator
from harness.tasks.base import Task
from tests.networks import gaussian, normal_log_prob

DENSITY: Task = registry.build("task", registry.resolve("task", "density"))


class UniformModel(Bijection):
    """``z = Φ⁻¹(x + 1/2)``: a standard normal latent makes the density on [-1/2, 1/2] uniform."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = torch.special.ndtri(x.double().flatten(1) + 0.5)
        return z, -normal_log_prob(z).sum(1)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


def dataset(name: str) -> Dataset:
    made: Dataset = registry.build("dataset", registry.resolve("dataset", name))
    return made


def test_loss_is_the_negative_log_likelihood_in_nats() -> None:
    flow = ActNorm(3).double()
    with torch.no_grad():
        flow.log_scale.fill_(math.log(2))
    x = gaussian(6, (3,))
    expected = -(normal_log_prob(2 * x).sum(1) + 3 * math.log(2)).mean()
    assert float(DENSITY.loss(flow, x).detach()) == pytest.approx(float(expected))


def test_a_uniform_model_of_17_levels_has_log2_17_bits() -> None:
    digits = dataset("digits")
    x = digits.prepare(digits.read().test[:50], generator(0, "x"))
    scores = {m.metric: m for m in DENSITY.evaluate(UniformModel(), x, digits, 3)}
    assert scores["bits_per_dim"].value == pytest.approx(math.log2(17))
    assert scores["negative_log_likelihood"].value == pytest.approx(0, abs=1e-6)
    assert scores["bits_per_dim"].count == 50
    assert scores["bits_per_dim"].step == 3


def test_bits_do_not_depend_on_the_range_that_levels_are_scaled_to() -> None:
    class Wide(UniformModel):
        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            z, log_det = super().forward(x / 2)
            return z, log_det - x[0].numel() * math.log(2)

    levels = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2)
    splits = Splits(levels, levels)
    wide = Dataset("wide", (1, 2, 2), -1.0, 1.0, "", "", lambda: splits, levels=4)
    x = wide.prepare(levels, generator(0, "x"))
    scores = {m.metric: m.value for m in DENSITY.evaluate(Wide(), x, wide, 0)}
    assert scores["bits_per_dim"] == pytest.approx(2.0)


def test_vectors_have_no_bits_per_dim() -> None:
    scores = DENSITY.evaluate(ActNorm(2).double(), gaussian(5, (2,)), dataset("checkerboard"), 0)
    assert [m.metric for m in scores] == ["negative_log_likelihood"]


def test_one_lost_likelihood_is_not_averaged_away() -> None:
    x = gaussian(5, (2,))
    x[2, 0] = torch.inf
    (score,) = DENSITY.evaluate(ActNorm(2).double(), x, dataset("checkerboard"), 0)
    assert score.value == math.inf
    assert score.status is NumberStatus.INF
