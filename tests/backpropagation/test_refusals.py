"""What cannot be rebuilt is refused, in a sentence."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.backpropagation.rebuilding import memory_saving
from harness.backpropagation.refusal import CannotRebuildError
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.transformers.elementwise import Additive
from harness.seeding import generator
from tests.backpropagation.networks import chain, coupling, gradients
from tests.networks import gaussian


class OneWay(Bijection):
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))


class Counting(ActNorm):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__(6)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().forward(x)


class Averaging(Counting):
    """Puts another buffer in the place of the last one."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.calls = self.calls + 1
        return ActNorm.forward(self, x)


class Noisy(ActNorm):
    def __init__(self) -> None:
        super().__init__(6)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x + torch.randn_like(x))


def conditioned(*layers: nn.Module) -> Bijection:
    network = nn.Sequential(nn.Linear(3, 3), *layers).double()
    return Chain([coupling(0), Coupling(3, Additive(), network)])


def free_form() -> Bijection:
    choice = registry.resolve("architecture", "free_form")
    flow: Bijection = registry.build("architecture", choice, (6,), generator(0, "free"))
    return flow


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: conditioned(nn.Dropout(0.1)), r"'parts\.1\.conditioner\.1', Dropout, draws"),
        (lambda: conditioned(nn.BatchNorm1d(3)), "BatchNorm1d, mixes the samples of a batch"),
        (lambda: Chain([ActNorm(6), OneWay()]), "layer 1, OneWay, has no inverse"),
        (free_form, "FreeForm, is learned"),
    ],
)
def test_when_wrapped(make: Callable[[], Bijection], said: str) -> None:
    with pytest.raises(CannotRebuildError, match=f"activations cannot be rebuilt: .*{said}"):
        memory_saving(make())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Counting, "changed one of its buffers"),
        (Averaging, "changed one of its buffers"),
        (Noisy, "drew random numbers"),
    ],
)
def test_when_called(make: Callable[[], Bijection], said: str) -> None:
    wrapped = memory_saving(Chain([make(), coupling(0)]).double())
    with pytest.raises(CannotRebuildError, match=said):
        wrapped(gaussian(3, (6,)))


def test_a_hook_that_would_be_given_activations_without_a_graph() -> None:
    flow, x = chain(1), gaussian(3, (6,))
    wrapped = memory_saving(flow)
    hook = flow.parts[1].register_forward_hook(lambda *_: None)
    with pytest.raises(CannotRebuildError, match=r"hook of the network's part 'parts\.1'"):
        wrapped(x)
    hook.remove()
    wrapped(x)


def test_second_derivatives() -> None:
    flow, x = chain(1), gaussian(3, (6,)).requires_grad_()
    y, _ = memory_saving(flow)(x)
    with pytest.raises(RuntimeError, match="keeps no graph, so its gradients cannot be diff"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    assert gradients(memory_saving(flow), x, [x])[0].isfinite().all()
