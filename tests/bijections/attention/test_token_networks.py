"""Attention and mlps of tokens: their bounds, and as conditioners of a coupling."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev
from torch.nn import functional as F

from harness.bijections.attention.attention_bounds import attention_slopes
from harness.bijections.attention.token_embedding import TokenEmbedding
from harness.bijections.attention.token_networks import Attention, TokenMLP
from harness.bijections.box import Box
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.transformers.elementwise import Additive
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb

G = generator(0, "tokens")
UNIT = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """PyTorch's own, of one head."""
    return F.scaled_dot_product_attention(queries, keys, values)


def _slopes(queries: Tensor, keys: Tensor, values: Tensor) -> list[tuple[float, float]]:
    """What is measured and what is claimed, by queries, keys and values."""
    found = jacrev(_attend, argnums=(0, 1, 2))(queries, keys, values)
    measured = [torch.linalg.matrix_norm(one.flatten(2).flatten(0, 1), 2) for one in found]
    radii = [(one - one.mean(0)).norm(dim=1).max() for one in (keys, values)]
    longest = queries.norm(dim=1).max()
    tokens, size = keys.shape
    claimed = attention_slopes(tokens, size, float(longest), *map(float, radii))
    return [(float(a), b) for a, b in zip(measured, claimed, strict=True)]


@pytest.mark.parametrize("scale", [0.1, 1, 3, 30])
def test_slopes_of_attention_are_never_exceeded(scale: float) -> None:
    for seed in range(20):
        queries, keys, values = scale * gaussian(3, (5, 3), seed) + UNIT
        for measured, claimed in _slopes(queries, keys, values):
            assert measured <= claimed * (1 + 1e-9)


def test_slopes_of_attention_are_reached() -> None:
    ends = torch.stack([UNIT, -UNIT])
    # Two tokens, as likely, keys and values opposite: the covariance is the product of the radii.
    by_queries, _, _ = _slopes(torch.zeros_like(ends), 2 * ends, 3 * ends)
    assert by_queries[0] == pytest.approx(by_queries[1])
    # All to one token: a column of P is of ones.
    _, _, by_values = _slopes(20 * UNIT.expand(2, 3), 20 * ends, ends)
    assert by_values[0] == pytest.approx(by_values[1]) == pytest.approx(math.sqrt(2))
    # As likely, for all queries alike: within √2.
    keys = torch.tensor([[0.0, 1, 0], [0, -1, 0]], dtype=torch.float64)
    _, by_keys, _ = _slopes(2 * UNIT.expand(2, 3), keys, 3 * ends)
    assert by_keys[0] == pytest.approx(by_keys[1] / math.sqrt(2))


def test_the_slope_of_a_normalisation_is_reached_where_nothing_varies() -> None:
    embedding = TokenEmbedding(2, 3, G, epsilon=1e-4).double()
    with torch.no_grad():
        embedding.linear.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
        embedding.linear.bias.fill_(0.5)
    matrix = jacrev(embedding)(gaussian(1, (2, 1), scale=0.0)).detach().reshape(3, 2)
    assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(embedding.lipschitz())
    assert embedding.lipschitz() == pytest.approx(math.sqrt(2) * 100)


def test_attention_is_that_of_pytorch() -> None:
    attention = Attention(5, 4, 3, width=6, heads=2, generator=G).double()
    perturb(attention, 1, 0.5)
    reference = nn.MultiheadAttention(6, 2, batch_first=True).double()
    x = gaussian(2, (4, 5))
    layers = (attention.queries, attention.keys, attention.values)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        reference.in_proj_bias.zero_()
        reference.in_proj_bias[:6] = attention.queries.bias
        reference.out_proj.weight.copy_(torch.eye(6))
        reference.out_proj.bias.zero_()
        hidden = attention.embedding.linear(x.mT) + attention.embedding.places
        given = F.layer_norm(hidden, (6,), attention.embedding.norm.weight, eps=1e-5)
        given = given + attention.embedding.norm.bias
        expected = attention.end(reference(given, given, given)[0]).mT
    torch.testing.assert_close(attention(x), expected)


COUPLINGS: dict[str, Callable[[], Coupling]] = {
    "attention": lambda: Coupling(
        2, Additive(), Attention(4, 3, 2, width=6, heads=2, generator=G), swap=True
    ),
    "attention, gentle": lambda: Coupling(
        2, Additive(), Attention(4, 3, 2, width=4, heads=1, generator=G, epsilon=1.0), swap=True
    ),
    "mlp": lambda: Coupling(2, Additive(), TokenMLP(2, 3, width=4, generator=G)),
    "mlp, gentle": lambda: Coupling(
        2, Additive(), TokenMLP(2, 3, width=4, generator=G, epsilon=1.0)
    ),
}


@pytest.mark.parametrize("name", COUPLINGS)
def test_contract(name: str) -> None:
    block, x = COUPLINGS[name]().double(), gaussian(4, (5, 4))
    perturb(block, 1, 0.3)
    conformance.check_round_trip(block, x, tolerance=1e-12)
    conformance.check_log_det(block, x)
    conformance.check_inverse_jacobian(block, x)
    conformance.check_batch_mates(block, x)
    conformance.check_no_hidden_state(block, x)
    conformance.check_gradients(block, x)
    conformance.check_round_trip(block.float(), x.float(), tolerance=1e-5)


@pytest.mark.parametrize("name", COUPLINGS)
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_bounds_hold_near_and_far(name: str, factor: int) -> None:
    block, x = COUPLINGS[name]().double(), gaussian(3, (5, 4))
    perturb(block, 1, 0.3)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(factor)
    conformance.check_bounds(block, torch.cat([x, 10 * x, 0 * x[:1]]))


def test_the_image_of_a_point_is_a_point() -> None:
    """Of an mlp always, of attention where all tokens are the same."""
    mlp = TokenMLP(4, 2, width=6, generator=G).double()
    attention = Attention(3, 4, 2, width=6, heads=2, generator=G).double()
    perturb(mlp, 1, 0.3)
    perturb(attention, 1, 0.3)
    with torch.no_grad():
        attention.embedding.places.zero_()  # type: ignore[union-attr]
    x = gaussian(1, (4, 3))
    for network, given in ((mlp, x), (attention, x[:, :, :1].expand_as(x))):
        for end in network.image(Box(given[0], given[0])):
            torch.testing.assert_close(end, network(given)[0].detach())


@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("name", COUPLINGS)
def test_images_hold_on_boxes_of_any_size(name: str, radius: float) -> None:
    network, x = (
        COUPLINGS[name]().conditioner.double(),
        gaussian(1, (5, 4))[:, : 3 - ("mlp" in name)],
    )
    perturb(network, 1, 0.3)
    ends = x + radius * gaussian(200, x.shape[1:]).sign()
    image = network.image(Box(x[0] - radius, x[0] + radius))  # type: ignore[operator]
    y = network(ends).detach()
    slack = 1e-12
    assert (image.lower - slack <= y).all()
    assert (y <= image.upper + slack).all()


def test_a_bias_of_the_queries_counts() -> None:
    """Tokens that differ in one direction, keys that see another: all keys are alike there."""
    attention = Attention(3, 2, 3, width=3, heads=1, generator=G, epsilon=1.0).double()
    seen, unseen = torch.tensor([[1.0, 1, -2], [1, -1, 0]], dtype=torch.float64)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        attention.embedding.norm.weight.fill_(1.0)
        attention.embedding.linear.weight.copy_(torch.stack([unseen, seen], dim=1))
        attention.keys.weight[0] = seen
        attention.queries.bias[0] = 1e3
        for layer in (attention.values, attention.end):
            layer.weight.copy_(torch.eye(3))
    x = torch.tensor([[[1.0, -1, 0], [0, 0, 0]]], dtype=torch.float64)
    jacobian = jacrev(attention)(x).detach().reshape(9, 6)
    measured = float(torch.linalg.matrix_norm(jacobian, 2))
    assert 0.1 < measured / attention.lipschitz() < 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_lost_bound_nothing(value: float) -> None:
    for make in COUPLINGS.values():
        for name, _ in make().named_parameters():
            block = make().double()
            perturb(block, 1, 0.3)
            with torch.no_grad():
                block.get_parameter(name).fill_(value)
            box = Box.of(gaussian(4, (5, 4)))
            # A shift leaves the bound as it is.
            shift = name.endswith(("bias", "places"))
            assert shift or block.bounds() == block.bounds(box) == (math.inf, math.inf), name
            block.image(box)


def test_misuse_is_told_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="width 5 must be a multiple of the number of heads, 2"):
        Attention(4, 3, 2, width=5, heads=2, generator=G)
    with pytest.raises(ValueError, match="epsilon must be positive, not 0"):
        TokenMLP(2, 3, width=4, generator=G, epsilon=0)
