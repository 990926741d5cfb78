"""Attention to normalised tokens: what is claimed of it, against autograd in the balls."""

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.autoregressive.causal_transformer import CausalLayer, CausalTransformer
from harness.bijections.autoregressive.causal_transformer_bounds import (
    GELU_LIPSCHITZ,
    Tokens,
    attention,
    normalised,
    outputs_on,
    perceptron,
)
from harness.bijections.autoregressive.patch_autoregressive import PatchAutoregressive
from harness.bijections.box import Box
from harness.conformance.bounds import bounds_on_a_box, corners_of, global_bounds, points_of
from harness.conformance.candidate import perturb
from harness.seeding import generator
from tests.conformance import assert_passed
from tests.networks import gaussian

TOKENS, WIDTH = 4, 6
Map = Callable[[Tensor], Tensor]


@functools.cache
def layer() -> CausalLayer:
    found = CausalLayer(WIDTH, 2, generator(0, "layer")).double()
    perturb(found, 1, 0.4)
    return found.requires_grad_(requires_grad=False)


def balls(radius: float) -> Tokens:
    """Tokens of which the first does not move, and each other moves as far as it may be off."""
    length = radius * torch.tensor([0.0, 1.0, 0.3, 2.0]).double()
    return Tokens(gaussian(1, (TOKENS, WIDTH), 2)[0], length, length)


def points(tokens: Tokens, count: int) -> Tensor:
    away = torch.nn.functional.normalize(gaussian(count, (TOKENS, WIDTH), 3), dim=2)
    away[: count // 2] *= torch.rand(count // 2, TOKENS, 1, generator=generator(0, "in")).double()
    return tokens.centre + away * tokens.radius.unsqueeze(1)


def moved(function: Map, x: Tensor, rate: Tensor) -> Tensor:
    """How far each token of the result moves at most, for tokens that move that far: ``(N,)``.

    Found by alternation: given where the result goes, the worst move of each token by itself.
    """
    jacobian = torch.autograd.functional.jacobian(function, x)  # type: ignore[no-untyped-call]
    found = torch.zeros(TOKENS).double()
    for number in range(TOKENS):
        block = jacobian[number]  # (w, N, w)
        for start in range(3):
            towards = gaussian(1, (WIDTH,), start)[0]
            for _ in range(20):
                pulled = torch.einsum("w,wnv->nv", towards, block)
                move = torch.nn.functional.normalize(pulled, dim=1) * rate.unsqueeze(1)
                result = torch.einsum("wnv,nv->w", block, move)
                towards = torch.nn.functional.normalize(result, dim=0)
            found[number] = max(float(found[number]), float(result.norm()))
    return found


def normal(x: Tensor) -> Tensor:
    return layer().norm_of_attention(x)  # type: ignore[no-any-return]


def attend(u: Tensor) -> Tensor:
    """The attention of a layer, given its normalised tokens."""
    one, after = layer(), torch.nn.Identity()
    original, one.norm_of_attention = one.norm_of_attention, after  # type: ignore[assignment]
    try:
        return one.attend(u.unsqueeze(0))[0].squeeze(0) - u
    finally:
        one.norm_of_attention = original


def mlp(u: Tensor) -> Tensor:
    one = layer()
    return one.narrow(torch.nn.functional.gelu(one.widen(u)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.5, 5.0])
def test_no_token_moves_further_than_is_claimed(radius: float) -> None:
    tokens = balls(radius)._replace(rate=torch.tensor([0.0, 1.0, 0.3, 2.0]).double())
    after = normalised(layer().norm_of_attention, tokens)
    claimed = {"attention": attention(layer(), after)(after.rate)}
    claimed["perceptron"] = perceptron(layer())(after.rate)
    for x in points(tokens, 6):
        u = normal(x).detach()
        assert (moved(normal, x, tokens.rate) <= after.rate * (1 + 1e-9)).all()
        off = torch.linalg.vector_norm(u - after.centre, dim=1)
        assert (off <= after.radius + 1e-12).all()
        assert (torch.linalg.vector_norm(u, dim=1) <= after.longest).all()
        for name, function in (("attention", attend), ("perceptron", mlp)):
            found = moved(function, u, after.rate)
            assert (found <= claimed[name] * (1 + 1e-9)).all(), name
    if radius == 0:  # near enough for a mistake of some factors to show
        u = normal(tokens.centre).detach()
        assert float((claimed["attention"] / moved(attend, u, after.rate))[1:].max()) < 30
        assert float((claimed["perceptron"] / moved(mlp, u, after.rate))[1:].max()) < 10
        assert claimed["attention"][0] == 0


def test_each_summand_of_attention_is_reached_up_to_its_norms() -> None:
    """One head of width 1: queries, keys and values alone, where softmax is known by hand."""
    one = CausalLayer(2, 2, generator(0, "known")).double().requires_grad_(requires_grad=False)
    with torch.no_grad():
        one.ask.weight.zero_()
        one.answer.weight.copy_(torch.eye(2))
        one.answer.bias.zero_()
    tokens = Tokens(
        torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double(),
        torch.zeros(2).double(),
        torch.tensor([0.0, 1.0]).double(),
    )
    with torch.no_grad():
        one.ask.weight[4, 0] = 2.0  # values alone: half of a move arrives, for softmax is even
    assert float(attention(one, tokens)(tokens.rate)[1]) == pytest.approx(2.0)
    with torch.no_grad():
        one.ask.weight[2, 0] = 3.0  # and keys: now a query would matter, were it not 0
        one.ask.weight[0, 1] = 5.0  # q = 5 u₂ = 0, so that dq alone moves the scores
    # ‖dv‖ = 2 and ‖v‖ ‖k‖ ‖dq‖ = 2 · 3 · 5
    assert float(attention(one, tokens)(tokens.rate)[1]) == pytest.approx(2 + 2 * 3 * 5)
    with torch.no_grad():
        one.ask.weight[:4] = 0
        one.ask.weight[0, 0], one.ask.weight[2, 1] = 5.0, 3.0  # and now k = 0, and dk alone does
    assert float(attention(one, tokens)(tokens.rate)[1]) == pytest.approx(2 + 2 * 5 * 3)


def test_gelu_is_no_steeper() -> None:
    x = torch.linspace(-6, 6, 200_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.nn.functional.gelu(x).sum(), x)
    assert GELU_LIPSCHITZ * (1 - 1e-8) < float(slope.abs().max()) <= GELU_LIPSCHITZ


def _network() -> CausalTransformer:
    found = CausalTransformer(
        4, 3, 6, width=WIDTH, heads=2, layers=2, generator=generator(0, "whole")
    ).double()
    perturb(found, 1, 0.2)
    return found


@pytest.mark.parametrize("radius", [0.0, 1e-3, 0.1, 2.0, math.inf])
def test_outputs_are_where_and_as_steep_as_is_claimed(radius: float) -> None:
    network, centre = _network(), gaussian(1, (3, 4))[0]
    finite = 5.0 if radius == math.inf else radius
    box = Box(centre - finite, centre + finite)
    outputs, lipschitz = outputs_on(network, None if radius == math.inf else box)
    x = torch.cat([points_of(box, 6), corners_of(box, 6)])

    def function(x: Tensor) -> Tensor:
        return network(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]

    h = function(x).detach()
    assert (h >= outputs.lower - 1e-9).all()
    assert (h <= outputs.upper + 1e-9).all()
    for some in (slice(None), slice(3), slice(3, None)):
        summed = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda x, some=some: function(x)[:, some].flatten(1).sum(0), x
        )
        steepest = torch.linalg.matrix_norm(summed.flatten(2).transpose(0, 1), 2).max()
        assert float(steepest) <= lipschitz(some) < math.inf
    if radius == 0:
        assert float((outputs.upper - outputs.lower).max()) == 0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["affine", "additive"])
def test_blocks_of_patches_are_bounded(name: str, reverse: bool) -> None:
    transformer = registry.build("transformer", registry.resolve("transformer", name))
    outputs = 3 * transformer.parameters_per_element
    network = CausalTransformer(
        3, 3, outputs, width=4, heads=2, layers=1, generator=generator(0, "block")
    )
    flow = PatchAutoregressive(network, transformer, reverse=reverse).double()
    perturb(flow, 1, 0.2)
    for _ in range(2):
        x = gaussian(4, (3, 3))
        assert_passed(global_bounds(flow, {"an input": x}))
        for radius in (1e-3, 0.5):
            box = Box(x[0] - radius, x[0] + radius)
            assert_passed(bounds_on_a_box(flow, box, climb=radius == 0.5))
            assert max(flow.bounds(box)) < math.inf
            assert flow.image(box) is not None
        assert (max(flow.bounds()) < math.inf) == (name == "additive")
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.mul_(2)
    with torch.no_grad():
        network.embedding.weight.fill_(math.nan)
    assert flow.bounds(box) == (math.inf, math.inf)
    assert flow.image(box) is None
