"""Gradients against those on paper."""

import math

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.headed import flow_of, with_head
from harness.bijections.linear.actnorm import ActNorm
from harness.gradients.functions import WAYS, WayName, of_samples
from harness.seeding import generator
from harness.tasks.classification import ClassifierHead
from tests.networks import gaussian
from tests.probing import LOSS


class Branching(Bijection):
    """``y = aˣ⁰ᐩ x`` in the likeness of a map that takes one of two branches by its input."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scales = torch.nn.Parameter(torch.tensor([0.5, -0.5], dtype=torch.float64))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows = [row * self.log_scales[int(row[0] > 0)].exp() for row in x]
        log_det = [row.numel() * self.log_scales[int(row[0] > 0)] for row in x]
        return torch.stack(rows), torch.stack(log_det)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.e, math.e)


@pytest.mark.parametrize("way", WAYS)
def test_of_a_diagonal_map(way: WayName) -> None:
    # -log p = Σ z²/2 - Σ s with z = eˢ (x + b): by s it is z² - 1, and by b it is eˢ z.
    norm = ActNorm(3).double()
    with torch.no_grad():
        norm.log_scale.copy_(torch.tensor([0.3, -1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, -3.0]))
    scale = norm.log_scale.detach().exp()
    x = gaussian(5, (3,)).double()
    z = scale * (x + norm.bias.detach())
    single = of_samples(WAYS[way], norm, LOSS, x)
    whole = WAYS[way].of_batch(norm, LOSS, x)
    for name, expected in (("log_scale", z * z - 1), ("bias", scale * z)):
        torch.testing.assert_close(single[name], expected)
        torch.testing.assert_close(whole[name], expected.mean(0))
    assert norm.log_scale.grad is None


@pytest.mark.parametrize("way", WAYS)
def test_of_a_flow_under_a_head(way: WayName) -> None:
    """By the flow's parameters alone, each sample with its own target."""
    task = registry.build("task", registry.resolve("task", "classification"))
    head = ClassifierHead(3, 4, generator(0, "head"))
    model = with_head(ActNorm(3), head).double().eval()
    x, y = gaussian(5, (3,)), torch.tensor([0, 3, 1, 1, 2])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    single = of_samples(WAYS[way], model, task.loss, x, y)
    whole = WAYS[way].of_batch(model, task.loss, x, y)
    flow = flow_of(model)
    names = [name for name, _ in flow.named_parameters()]
    assert single.keys() == whole.keys() == set(names)
    for number in range(5):
        scores = head(flow(x[number : number + 1])[0])
        loss = scores.logsumexp(1)[0] - scores[0, y[number]]
        expected = torch.autograd.grad(loss, list(flow.parameters()))
        for name, one in zip(names, expected, strict=True):
            torch.testing.assert_close(single[name][number], one)
    for name in names:
        torch.testing.assert_close(whole[name], single[name].mean(0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_samples_take_their_own_branches() -> None:
    flow, x = Branching(), gaussian(6, (2,)).double()
    expected = torch.zeros(6, 2, dtype=torch.float64)
    for number, row in enumerate(x):
        branch = int(row[0] > 0)
        z = row * flow.log_scales[branch].detach().exp()
        expected[number, branch] = float((z * z).sum()) - 2
    assert expected.count_nonzero(0).min() > 0, "both branches are taken"
    found = of_samples(WAYS["autograd"], flow, LOSS, x)["log_scales"]
    torch.testing.assert_close(found, expected)


def test_a_parameter_without_effect_has_the_gradient_zero() -> None:
    norm = ActNorm(2).double()
    norm.unused = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    x = gaussian(4, (2,)).double()
    assert torch.equal(
        WAYS["autograd"].of_batch(norm, LOSS, x)["unused"], torch.zeros(3, dtype=torch.float64)
    )
    nothing = WAYS["autograd"].of_batch(norm, lambda flow, x: x.sum(), x)
    assert all(bool((one == 0).all()) for one in nothing.values())
