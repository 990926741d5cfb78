"""Estimates of the log-determinant against the exact one, value and gradient."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.residual.lipschitz_dense import LipschitzDense
from harness.bijections.residual.log_determinant import (
    Exact,
    ExactSeries,
    LogDeterminant,
    Roulette,
    Series,
    estimate,
    resample,
    truncation_bound,
)
from harness.bijections.residual.residual import Residual
from harness.seeding import generator
from harness.training.stack import Stack
from tests.networks import gaussian, perturb


def dense() -> LipschitzDense:
    network = LipschitzDense((3,), 4, 2, 0.8, generator(0, "dense")).double()
    perturb(network, 0, 1.0)
    return network


def slopes(network: LipschitzDense, log_det: Tensor, x: Tensor) -> Tensor:
    """By x and by all weights, as one vector."""
    wanted = [x, *network.parameters()]
    found = torch.autograd.grad(log_det.sum(), wanted, materialize_grads=True)
    return torch.cat([one.flatten() for one in found])


@pytest.mark.parametrize("terms", [1, 2, 5, 20])
def test_a_truncated_series_is_within_its_bound(terms: int) -> None:
    network, x = dense(), gaussian(8, (3,))
    series = ExactSeries(terms)
    error = (series(network, x)[1] - Exact()(network, x)[1]).detach().abs().max()
    bound = series.error_bound(network.lipschitz(), 3)
    assert bound == truncation_bound(network.lipschitz(), terms, 3)
    assert 0 < float(error) <= bound
    assert truncation_bound(1.0, terms, 3) == float("inf")


def test_the_bound_is_reached_by_a_multiple_of_the_identity() -> None:
    """J = -c I: all terms have one sign, and the sum differs by the geometric tail alone."""
    c, terms = 0.9, 400
    tail = sum(c**k / k for k in range(terms + 1, 5000))
    assert tail <= truncation_bound(c, terms, 1) < 1.03 * tail


def test_all_signs_together_give_the_exact_trace_and_its_gradient() -> None:
    """Of three dimensions there are eight vectors of signs: their mean is the expectation."""
    network, x = dense(), gaussian(1, (3,))
    x.requires_grad_()
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    weights = [1.0] * 6
    found = estimate(network, x.expand(8, 3), signs, weights)[1].mean()
    expected = ExactSeries(6)(network, x)[1].squeeze(0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(slopes(network, found, x), slopes(network, expected, x))


def test_roulette_is_unbiased_value_and_gradient() -> None:
    """Over the lengths exactly, by their probabilities, with all signs."""
    network, x, q, certain = dense(), gaussian(1, (3,)), 0.7, 2
    x.requires_grad_()
    roulette = Roulette(certain, q, 3, generator(0, "r"), rows=8).double()
    roulette.signs.copy_(torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 3))
    total: Tensor = x.new_zeros(())
    for length in range(60):
        roulette.length.fill_(length)
        total = total + (1 - q) * q**length * roulette(network, x.expand(8, 3))[1].mean()
    expected = Exact()(network, x)[1].squeeze(0)
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        slopes(network, total, x), slopes(network, expected, x), rtol=1e-3, atol=1e-4
    )


def test_lengths_are_geometric() -> None:
    roulette, source = Roulette(1, 0.7, 2, generator(0, "r"), rows=1), generator(1, "r")
    lengths = []
    for _ in range(4000):
        roulette.resample(source)
        lengths.append(int(roulette.length))
    for k in range(4):
        frequency = sum(length >= k for length in lengths) / len(lengths)
        assert frequency == pytest.approx(0.7**k, abs=0.03)


@pytest.mark.parametrize("kind", ["series", "roulette"])
def test_only_an_explicit_step_draws(kind: str) -> None:
    makers: dict[str, Callable[[], LogDeterminant]] = {
        "series": lambda: Series(4, 3, generator(0, "s")),
        "roulette": lambda: Roulette(2, 0.5, 3, generator(0, "s")),
    }
    make = makers[kind]
    estimated = make()
    block = Residual(dense(), in_training=estimated).double()
    x, state = gaussian(5, (3,)), {k: v.clone() for k, v in block.state_dict().items()}
    first = block(x)[1]
    assert torch.equal(block(x)[1], first)
    torch.testing.assert_close(block(x[:2])[1], first[:2])
    assert all(torch.equal(state[key], value) for key, value in block.state_dict().items())
    exact = block.eval()(x)[1]
    assert not torch.allclose(exact, first)
    torch.testing.assert_close(exact, Exact()(block.network, x)[1])
    assert block.log_det_error_bound() == 0
    block.train()
    resample(block, generator(1, "s"))
    assert not torch.equal(block(x)[1], first)
    again = Residual(dense(), in_training=make()).double()
    again.load_state_dict(block.state_dict())
    assert torch.equal(again(x)[1], block(x)[1])


def test_every_network_of_a_stack_draws_for_itself() -> None:
    choice = registry.resolve("architecture", {"name": "residual_image", "width": 2, "blocks": 1})
    flows = [
        registry.build("architecture", choice, (1, 4, 4), generator(seed, "init")).double().train()
        for seed in range(3)
    ]
    x = gaussian(5, (1, 4, 4)).expand(3, -1, -1, -1, -1)
    stack = Stack(flows)
    with torch.no_grad():
        before = stack.run(lambda flow, x: flow(x)[1], x)
        stack.resample([generator(seed, "log-det") for seed in range(3)])
        after = stack.run(lambda flow, x: flow(x)[1], x)
        alone = torch.stack([flow(one)[1] for flow, one in zip(flows, x, strict=True)])
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, alone)


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("terms", lambda g: Series(0, 3, g)),
        ("terms", lambda _: ExactSeries(0)),
        ("certain", lambda g: Roulette(0, 0.5, 3, g)),
        ("continuation", lambda g: Roulette(1, 1.0, 3, g)),
        ("maximum_iterations", lambda _: Residual(dense(), 0)),
    ],
)
def test_bad_arguments_are_named(argument: str, make: object) -> None:
    with pytest.raises(ValueError, match=argument):
        make(generator(0, "bad"))  # type: ignore[operator]
