"""What training refuses to take for granted."""

import types

import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.permutation import Permutation
from harness.bijections.transformers.elementwise import Additive
from harness.seeding import generator
from harness.suite.model import Training
from harness.tasks.density import Density
from harness.training.batches import Batches
from harness.training.loop import Member, train
from tests.networks import perturb

SETTINGS = Training(steps=3, batch_size=8, precision="float64")


def coupling(seed: int) -> Coupling:
    block = Coupling(1, Additive(), mlp(1, 1, 4, 1, generator(seed, "contract")))
    perturb(block, seed)
    return block


def run(*flows: Bijection) -> list[Tensor]:
    """Train them as a pack; their parameters afterwards."""
    dataset = registry.build("dataset", registry.resolve("dataset", "checkerboard"))
    batches = Batches(dataset, dataset.read().train, SETTINGS.batch_size, list(range(len(flows))))
    none = registry.build("regularizer", registry.resolve("regularizer", "none"))
    members = [Member(flow, SETTINGS, none, seed) for seed, flow in enumerate(flows)]
    train(members, Density(), batches)
    return [torch.cat([p.detach().flatten() for p in flow.parameters()]) for flow in flows]


class Average(ActNorm):
    """Keeps a running mean, in its call."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__(2)
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return super().forward(x - self.mean)


class Noisy(ActNorm):
    """Draws in its call."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = super().forward(x)
        return y + torch.randn_like(y) if self.training else y, log_det


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        (Average, "changed its buffer 'parts.1.mean'"),
        (lambda: Noisy(2), "two calls of the network on the same inputs differ"),
    ],
)
@pytest.mark.parametrize("size", [1, 3])
def test_a_call_leaves_nothing_behind_and_draws_nothing(
    block: type[Average], sentence: str, size: int
) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(*(Chain([coupling(seed), block()]) for seed in range(size)))


def test_there_is_something_to_train() -> None:
    with pytest.raises(ValueError, match="no parameters to train"):
        run(Chain([Permutation(torch.tensor([1, 0]))]))


def test_a_hook_of_a_parameter_is_not_passed_over() -> None:
    def hooked(seed: int) -> Bijection:
        block = coupling(seed)
        next(block.parameters()).register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]
        return block

    with pytest.raises(ValueError, match="hook of a parameter"):
        run(hooked(0), hooked(1))
    (alone,) = run(hooked(0))
    (free,) = run(coupling(0))
    assert not torch.equal(alone, free)


def test_a_forward_of_an_object_of_its_own_is_heeded() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        doubled: Tensor = 2 * type(self).forward(self, x)
        return doubled

    def patched(seed: int) -> Bijection:
        block = coupling(seed)
        block.conditioner.forward = types.MethodType(forward, block.conditioner)
        return block

    (alone,) = run(patched(0))
    together, _ = run(patched(0), patched(1))
    (plain,) = run(coupling(0))
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    assert (alone - plain).abs().max() > 1e-6
