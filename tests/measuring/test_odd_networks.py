"""Networks that do what the usual ones do not: they answer as they would alone."""

import pytest
import torch
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.bijections.chain import Chain
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.measuring.networks import Networks
from harness.precisions import PRECISIONS, USUAL, PrecisionName
from harness.seeding import generator
from tests.measuring.asking import AFFINE, CALLS, SEEDS, ask, each, flows, of_samples, root
from tests.networks import gaussian


class Scaled(Bijection):
    """A block that branches on data wherever it goes."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scale = self.scale if self.scale > 1 else self.scale + 10
        return x * scale, scale.log().expand(len(x))


def test_a_network_that_branches_answers_by_itself() -> None:
    pack = [Scaled(scale) for scale in (0.5, 2.0, 0.25)]
    x = torch.ones(2, 2)
    found = ask(Networks(pack), of_samples, "float32", x)
    assert [float(one[0, 0]) for one in found] == [10.5, 2.0, 10.25]


def test_a_block_that_is_there_twice() -> None:
    def twice(seed: int) -> Bijection:
        norm = ActNorm(2)
        with torch.no_grad():
            norm.log_scale.fill_(seed)
        return Chain([norm, norm])

    found = ask(Networks([twice(s) for s in SEEDS]), of_samples, "float32", torch.ones(4, 2))
    expected = [torch.tensor(2.0 * seed).exp() for seed in SEEDS]
    for one, scale in zip(found, expected, strict=True):
        torch.testing.assert_close(one, scale.expand(4, 2))


@pytest.mark.parametrize("precision", USUAL)
def test_every_precision_has_the_weights_of_float32(precision: PrecisionName) -> None:
    pack = flows(AFFINE, torch.float64)
    with torch.no_grad():
        for flow in pack:
            for parameter in flow.parameters():
                parameter.mul_(1 + 1e-8)  # no longer a number of float32
    x = gaussian(4, (2,)).to(PRECISIONS[precision].dtype)
    found = ask(Networks(pack), of_samples, precision, x)
    for flow, ours, alone in zip(pack, found, each(pack, of_samples, precision, x), strict=True):
        rounded = flow.float().to(PRECISIONS[precision].dtype)
        tolerance = {"float32": 1e-5, "float64": 1e-12}[precision]
        for one in (ours, alone):
            torch.testing.assert_close(one, rounded(x)[0], rtol=tolerance, atol=tolerance)


class Newton(Bijection):
    """``y = x³`` on positive numbers, by as many steps for every input."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = torch.nn.Parameter(torch.tensor(float(steps)))

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        x = y
        for step in range(8):
            x = torch.where(step < self.steps, (2 * x + y / x**2) / 3, x)
        residual = (x**3 - y).abs().amax(1)
        count = self.steps.to(torch.int64).expand(len(y))
        return x, residual, Convergence(count, residual, residual < 1e-6)


def test_how_an_iteration_ended_is_told_by_a_block_that_knows_nothing_of_packs() -> None:
    CALLS.clear()
    y = torch.tensor([[1.5], [2.0]])
    found = ask(Networks([Newton(1), Newton(8), Newton(3)]), root, "float32", y)
    assert CALLS == [6]
    assert [report.iterations.tolist() for _, _, report in found] == [[1, 1], [8, 8], [3, 3]]
    assert [bool(report.converged.all()) for _, _, report in found] == [False, True, False]


def test_hooks_of_a_part_are_heeded() -> None:
    pack = [Chain([ActNorm(2), ActNorm(2)]) for _ in SEEDS]
    for flow in pack:
        flow.parts[1].register_forward_hook(lambda _, __, found: (found[0] + 5, found[1]))
    for one in ask(Networks(pack), of_samples, "float32", torch.ones(4, 2)):
        assert torch.equal(one, torch.full((4, 2), 6.0))


class Doubled(Bijection):
    """Twice as large while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.scale * (2 if self.training else 1), x.new_zeros(len(x))


def test_networks_as_one_are_in_evaluation_mode() -> None:
    pack = [Chain([Doubled(), ActNorm(2)]).eval() for _ in SEEDS]
    for one in ask(Networks(pack), of_samples, "float32", torch.ones(4, 2)):
        assert torch.equal(one, torch.ones(4, 2))


class Odd(Residual):
    """Its inverse is its own."""

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        return y + 1, y.new_zeros(len(y)), Convergence.closed_form(y)


def test_a_subclass_of_a_block_is_not_taken_for_the_block() -> None:
    pack = [Odd(LipschitzNetwork(2, 4, 1, 0.5, generator(seed, "odd"))) for seed in SEEDS]
    found = ask(Networks(pack), root, "float32", torch.ones(4, 2))
    assert all(torch.equal(x, torch.full((4, 2), 2.0)) for x, _, _ in found)
