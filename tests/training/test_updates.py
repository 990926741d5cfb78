"""Blocks that follow the data are updated after each training step, in packs as alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.batch_norm import BatchNorm
from harness.bijections.statistics import updated
from harness.bijections.transformers.elementwise import Additive
from harness.conformance.candidate import Candidate
from harness.conformance.suite import conformance
from harness.datasets.base import Dataset
from harness.record import Status
from harness.seeding import generator
from harness.suite.model import Training
from harness.training.batches import Batches
from harness.training.loop import Member, Trained, train
from tests.conformance import assert_passed

STEPS = 30
SEEDS = (0, 1, 2)


def normed(source: torch.Generator) -> Bijection:
    """A batch norm at the start, and one that sees what training changes."""
    first = BatchNorm(2, momentum=0.2)
    coupling = Coupling(1, Additive(), mlp(1, 1, 4, 1, source))
    return Chain([first, coupling, BatchNorm(2, momentum=1.0)])


def members(**different: float) -> list[Member]:
    none = registry.build("regularizer", registry.resolve("regularizer", "none"))
    found = []
    for seed in SEEDS:
        rate = different.get(f"rate_{seed}", 1e-2)
        settings = Training(
            steps=STEPS, batch_size=16, precision="float64", learning_rate=rate, log_every=1
        )
        found.append(Member(normed(generator(seed, "init")), settings, none, seed))
    return found


def run(*packs: list[Member]) -> list[Trained]:
    dataset: Dataset = registry.build("dataset", registry.resolve("dataset", "checkerboard"))
    raw, task = dataset.read().train, registry.build("task", registry.resolve("task", "density"))
    ended = []
    for pack in packs:
        batches = Batches(dataset, raw, 16, [member.seed for member in pack])
        ended += train(pack, task, batches)
    return ended


def states(pack: list[Member]) -> list[Tensor]:
    return [
        torch.cat([one.flatten() for one in member.flow.state_dict().values()]) for member in pack
    ]


def test_a_pack_moves_its_statistics_as_its_members_would_alone() -> None:
    packed, alone = members(), members()
    together, apart = run(packed), run(*([one] for one in alone))
    for ours, theirs in zip(states(packed), states(alone), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for one, other in zip(together, apart, strict=True):
        assert [p.value for p in one.curve] == pytest.approx([p.value for p in other.curve])
    first, second, _ = states(packed)
    assert not torch.allclose(first, second)


def test_statistics_are_those_of_each_batch_in_turn_by_the_weights_after_the_step() -> None:
    (member,) = alone = members()[:1]
    run(alone)
    dataset: Dataset = registry.build("dataset", registry.resolve("dataset", "checkerboard"))
    batches = Batches(dataset, dataset.read().train, 16, [member.seed])
    x = batches.draw()[0][0].double()
    mean = x.mean(0)
    for _ in range(STEPS):
        x = batches.draw()[0][0].double()
        mean = 0.8 * mean + 0.2 * x.mean(0)
    assert isinstance(member.flow, Chain)
    first, coupling, last = member.flow.parts
    torch.testing.assert_close(first.mean, mean)
    given = coupling(first(x)[0])[0].detach()
    torch.testing.assert_close(last.mean, given.mean(0))  # its momentum is 1
    torch.testing.assert_close(last.variance, given.var(0, correction=0))


def test_a_member_that_diverged_keeps_its_statistics_of_then() -> None:
    wild, alone = members(rate_1=1e300), members(rate_1=1e300)
    ended = run(wild)
    assert [one.status for one in ended] == [Status.OK, Status.DIVERGED, Status.OK]
    run(*([one] for one in alone))
    tame = members()
    run(tame)
    for number, three in enumerate(zip(*map(states, (wild, alone, tame)), strict=True)):
        ours, theirs, calm = three
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, equal_nan=True)
        assert torch.equal(ours, calm) == (number != 1)


@pytest.mark.parametrize("together", [True, False])
def test_statistics_that_a_last_step_spoilt_are_a_divergence(together: bool) -> None:
    pack = []
    for member, rate in zip(members(), (1e-2, 1e200, 1e-2), strict=True):
        flow = normed(generator(member.seed, "init"))
        settings = member.settings.model_copy(update={"steps": 1, "learning_rate": rate})
        pack.append(replace(member, flow=flow, settings=settings))
    ended = run(pack) if together else run(*([member] for member in pack))
    assert [one.status for one in ended] == [Status.OK, Status.DIVERGED, Status.OK]
    _, wild, _ = pack  # its weights are finite: only what they do to a batch is not
    assert all(bool(one.isfinite().all()) for one in wild.flow.parameters())
    assert not all(bool(one.isfinite().all()) for one in wild.flow.buffers())


def test_a_buffer_that_nothing_moves_may_be_infinite() -> None:
    (member,) = members()[:1]
    member.flow.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert run([member])[0].status is Status.OK


@pytest.mark.parametrize("name", ["affine", "maf"])
def test_an_architecture_has_batch_norm_after_each_block(name: str) -> None:
    size = {"couplings": 2} if name == "affine" else {"blocks": 2}
    for wanted in (True, False):
        given = {"name": name, **size, "actnorm": False, "batch_norm": wanted}
        choice = registry.resolve("architecture", given)
        flow = registry.build("architecture", choice, (2,), generator(0, "init"))
        assert [type(one) for one in updated(flow)] == [BatchNorm, BatchNorm] * wanted
        assert isinstance(flow.parts[-1], BatchNorm) == wanted


def test_only_blocks_with_a_step_of_their_own_have_one() -> None:
    flow = normed(generator(0, "init"))
    assert [type(block) for block in updated(flow)] == [BatchNorm, BatchNorm]
    assert updated(Chain([ActNorm(2)])) == []


def test_a_flow_with_batch_norm_meets_the_contract() -> None:
    assert_passed(conformance(Candidate("normed", (2,), normed)))
