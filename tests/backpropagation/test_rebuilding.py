"""Gradients through rebuilt activations against autograd's, and what they are worth in memory."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.backpropagation.rebuilding import guarded, memory_saving
from harness.bijections.base import Bijection, BiLipschitz, Rebuilt
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.permutation import Permutation
from harness.bijections.shape.reshape import Flatten
from harness.conformance.rebuilding import gradients_of_rebuilding
from harness.conformance.registered import candidate
from harness.memory.member import Storages
from tests.backpropagation.networks import (
    WAYS,
    assert_alike,
    chain,
    coupling,
    gradients,
    loss,
)
from tests.bijections.test_contexts import BLOCKS, FEATURES, built
from tests.conformance_suite.test_registry import CASES
from tests.networks import gaussian, perturb

every = pytest.mark.parametrize("way", WAYS)


@pytest.mark.parametrize(
    "choice",
    [one for one in CASES if not registry.get("architecture", one.name).learns_inverse],
    ids=lambda choice: registry.label("architecture", choice),
)
def test_every_architecture_has_the_gradients_of_autograd(choice: registry.Choice) -> None:
    one = candidate(choice)
    for row in gradients_of_rebuilding(one.perturbed(), one.inputs(4)):
        assert row.measured <= 1e-10, row.sentence
        assert row.detail.startswith("by "), row.sentence  # and was not refused


@every
@pytest.mark.parametrize("name", BLOCKS)
def test_contexts_have_gradients_too(way: str, name: str) -> None:
    block, x = built(name)
    flow = Chain([block, copy.deepcopy(block)])
    x, context = x.requires_grad_(), gaussian(len(x), (FEATURES,), seed=7).requires_grad_()
    leaves = [x, context, *flow.parameters()]
    found = gradients(WAYS[way](flow), x, leaves, context)
    expected = gradients(flow, x, leaves, context)
    if name != "image, spline":
        assert expected[1].abs().max() > 0
    assert_alike(found, expected)


@every
def test_a_context_alone_may_be_what_is_learned(way: str) -> None:
    block, x = built("affine")
    flow = Chain([block, ActNorm(4).double()])
    for parameter in flow.parameters():
        parameter.requires_grad_(False)
    context = gaussian(len(x), (FEATURES,), seed=7).requires_grad_()
    (found,) = gradients(WAYS[way](flow), x, [context], context)
    (expected,) = gradients(flow, x, [context], context)
    assert_alike([found], [expected])


@every
def test_values_are_those_of_the_network_to_the_bit(way: str) -> None:
    flow, x = chain(), gaussian(5, (6,))
    wrapped = WAYS[way](flow)
    for ours, theirs in zip(wrapped(x), flow(x), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.requires_grad
    for ours, theirs in zip(wrapped.inverse(x), flow.inverse(x), strict=True):
        assert torch.equal(ours, theirs)
    with torch.no_grad():
        assert not wrapped(x)[0].requires_grad
    assert wrapped.bounds() == flow.bounds()


@every
def test_shared_and_frozen_parameters(way: str) -> None:
    shared = coupling(0).double()
    norm = ActNorm(6).double()
    other = ActNorm(6)
    flow = Chain([norm, shared, Permutation(torch.arange(5, -1, -1)), norm, shared, other])
    flow.double()
    other.bias = norm.bias  # one parameter of two modules
    perturb(flow, 3)
    for name, parameter in flow.named_parameters():
        parameter.requires_grad_("layers.0" not in name)
    x, leaves = gaussian(5, (6,)), [p for p in flow.parameters() if p.requires_grad]
    assert_alike(gradients(WAYS[way](flow), x, leaves), gradients(flow, x, leaves))
    loss(*WAYS[way](flow)(x)).backward()  # type: ignore[no-untyped-call]
    assert all((p.grad is not None) == p.requires_grad for p in flow.parameters())


@every
@pytest.mark.parametrize("part", ["value", "log-det"])
def test_a_loss_of_one_result_alone(way: str, part: str) -> None:
    flow, x = chain(2), gaussian(5, (6,)).requires_grad_()
    number = ["value", "log-det"].index(part)
    leaves = [x, *flow.parameters()]
    found, expected = (
        torch.autograd.grad(one(x)[number].sin().sum(), leaves, materialize_grads=True)
        for one in (WAYS[way](flow), flow)
    )
    assert_alike(found, expected)


@every
def test_several_calls_in_a_loss_and_gradients_that_accumulate(way: str) -> None:
    flow, x = chain(2), gaussian(5, (6,))

    def both(network: Bijection) -> Tensor:
        """As finite differences both ways do."""
        y, log_det = network(x)
        moved, _ = network(x + 0.1)
        back, _ = network.inverse(y + 0.1)
        total: Tensor = (moved - y).square().sum() + (back - x).square().sum() + log_det.sum()
        return total

    wrapped = WAYS[way](flow)
    expected = [2 * one for one in torch.autograd.grad(both(flow), list(flow.parameters()))]
    for _ in range(2):
        both(wrapped).backward()  # type: ignore[no-untyped-call]
    assert_alike([p.grad for p in flow.parameters() if p.grad is not None], expected)


@every
def test_a_graph_that_is_kept_can_be_used_again(way: str) -> None:
    flow, x = chain(2), gaussian(5, (6,))
    leaves, value = list(flow.parameters()), loss(*WAYS[way](flow)(x))
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    assert_alike(torch.autograd.grad(value, leaves), first, 0.0)


@every
def test_what_has_changed_since_is_noticed_as_autograd_notices_it(way: str) -> None:
    flow, x = chain(2), gaussian(5, (6,))
    value = loss(*WAYS[way](flow)(x))
    with torch.no_grad():
        next(flow.parameters()).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()  # type: ignore[no-untyped-call]


@every
def test_a_network_that_does_nothing(way: str) -> None:
    x = gaussian(3, (2,)).requires_grad_()
    assert_alike(gradients(WAYS[way](Flatten((2,))), x, [x]), gradients(Flatten((2,)), x, [x]))


@every
def test_a_copy_is_a_network_of_its_own(way: str) -> None:
    flow, x = chain(2), gaussian(5, (6,))
    wrapped = WAYS[way](flow)
    copied = copy.deepcopy(wrapped).float()
    expected = gradients(flow, x, list(flow.parameters()))
    assert_alike(gradients(wrapped, x, list(wrapped.parameters())), expected)
    found = gradients(copied, x.float(), list(copied.parameters()))
    assert {one.dtype for one in found} == {torch.float32}
    assert_alike([one.double() for one in found], expected, 1e-4)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, None])
def test_autocast_is_what_it_was(way: str, dtype: torch.dtype | None) -> None:
    flow = Chain([coupling(0), ActNorm(6), coupling(1), coupling(2), coupling(3)])
    perturb(flow, 1)
    x, leaves = gaussian(5, (6,)).float(), list(flow.parameters())
    wrapped = WAYS[way](flow)
    values = []
    for network in (wrapped, flow):
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            values.append(loss(*network(x)))
            if dtype:  # and what comes after has a graph: no cast without one was remembered
                values[-1] = values[-1] + flow.inverse(x)[0].sum()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is None):  # the other way round
        found = torch.autograd.grad(values[0], leaves)
    expected = torch.autograd.grad(values[1], leaves)
    assert torch.equal(*values)
    assert_alike(found, expected, 0.02 if dtype else 1e-5)


def test_compiled_it_still_has_the_same_gradients() -> None:
    flow, x = chain(1), gaussian(5, (6,))
    leaves = list(flow.parameters())
    compiled: Any = torch.compile(guarded(flow), backend="eager")
    assert_alike(gradients(compiled, x, leaves), gradients(flow, x, leaves))


def peak(flow: Bijection, x: Tensor) -> int:
    """Bytes beside the weights and their gradients."""
    leaves = list(flow.parameters())
    storages = Storages([x, *leaves, *flow.buffers()])
    with storages:
        gradients(flow, x, leaves)
    return max(storages.live) - sum(leaf.nbytes for leaf in leaves)


def test_memory_is_flat_in_depth_and_guarded_takes_a_fraction() -> None:
    x = gaussian(64, (32,))
    flows = {depth: chain(depth, 32, 32) for depth in (4, 16)}
    plain = {depth: peak(flow, x) for depth, flow in flows.items()}
    saving = {depth: peak(memory_saving(flow), x) for depth, flow in flows.items()}
    watched = {depth: peak(guarded(flow), x) for depth, flow in flows.items()}
    assert plain[16] > 3 * plain[4]
    assert saving[16] < 1.1 * saving[4]
    assert watched[16] < 0.4 * plain[16]


class Scaled(Coupling):
    """Twice a coupling, by a forward and an inverse of its own."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = super().forward(x, context)
        return 2 * y, log_det

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().inverse(y / 2, context)


@every
def test_a_subclass_does_not_inherit_the_rebuild_of_another_map(way: str) -> None:
    usual = coupling(0)
    scaled = Scaled(usual.parts, usual.transformer, usual.conditioner)
    flow = Chain([coupling(1), scaled, coupling(2)]).double()
    perturb(flow, 0)
    x, leaves = gaussian(5, (6,)), list(flow.parameters())
    assert_alike(gradients(WAYS[way](flow), x, leaves), gradients(flow, x, leaves))


class Counted(ActNorm):
    """Counts how often its own rebuild is asked."""

    asked = 0

    def rebuild(self, y: Tensor, context: Tensor | None = None) -> Rebuilt:
        self.asked += 1
        return super().rebuild(y, context)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return super().bounds(box)


def test_the_way_back_ends_where_nothing_is_learned_any_more() -> None:
    frozen, x = Counted(6), gaussian(5, (6,))
    flow = Chain([frozen, coupling(0)]).double()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    leaves = [p for p in flow.parameters() if p.requires_grad]
    assert_alike(gradients(memory_saving(flow), x, leaves), gradients(flow, x, leaves))
    assert frozen.asked == 0
    gradients(memory_saving(flow), x.requires_grad_(), [x])
    assert frozen.asked == 1
