import math

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.registry import Combination
from harness.regularizers.base import Regularizer
from harness.regularizers.finite_difference import unit_directions
from harness.seeding import generator
from tests.networks import gaussian, network, normal_log_prob

CASES = ["affine(scale=exp, couplings=4) on 5", "residual(blocks=2, width=8) on 5"]


def build(given: object) -> Regularizer:
    regularizer: Regularizer = registry.build("regularizer", registry.resolve("regularizer", given))
    return regularizer


def combination(task: str, architecture: object) -> Combination:
    return Combination(
        registry.resolve("task", task),
        registry.resolve("architecture", architecture),
        registry.resolve("regularizer", "none"),
        registry.resolve("dataset", "checkerboard"),
        (2,),
    )


def value_of(regularizer: Regularizer, flow: Bijection, x: Tensor) -> Tensor:
    return regularizer.penalty(flow, x, *regularizer.draw(x, generator(0, "v")))


def test_directions_have_length_one_for_each_sample_whatever_the_batch() -> None:
    for count in (1, 2, 100):
        v = unit_directions(gaussian(count, (3, 2, 2)), generator(0, "v"))
        torch.testing.assert_close(v.flatten(1).norm(dim=1), torch.ones(count, dtype=v.dtype))
        assert abs(float(v.mean())) < 0.3


def test_finite_difference_of_a_scaling_is_a_squared_plus_its_inverse() -> None:
    """y = a x: ‖J v‖² = a² and ‖J⁻¹ w‖² = 1/a²; by log a the slope is 2a² - 2/a²."""
    a, penalty = 3.0, build("finite_difference")
    norm = ActNorm(4).double()
    with torch.no_grad():
        norm.log_scale.fill_(math.log(a))
    value = value_of(penalty, norm, gaussian(8, (4,)))
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == pytest.approx(a**2 + a**-2)
    assert norm.log_scale.grad is not None
    assert float(norm.log_scale.grad.sum()) == pytest.approx(2 * a**2 - 2 * a**-2)


@pytest.mark.parametrize("case", CASES)
def test_finite_difference_gradient_is_that_of_its_value(case: str) -> None:
    """Autograd against a central difference along a random direction of the weights."""
    flow, shape = network(case)
    x, penalty = gaussian(4, shape), build("finite_difference")
    flow.zero_grad()
    value_of(penalty, flow, x).backward()  # type: ignore[no-untyped-call]
    source = generator(1, "w")
    directions = [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in flow.parameters()]
    slope = sum(
        float((p.grad * d).sum())
        for p, d in zip(flow.parameters(), directions, strict=True)
        if p.grad is not None
    )

    def moved(size: float) -> float:
        with torch.no_grad():
            for p, d in zip(flow.parameters(), directions, strict=True):
                p.add_(d, alpha=size)
            value = float(value_of(penalty, flow, x))
            for p, d in zip(flow.parameters(), directions, strict=True):
                p.sub_(d, alpha=size)
        return value

    numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert slope == pytest.approx(numeric, rel=1e-4)


def test_log_scale_is_the_sum_of_squares() -> None:
    transformer = registry.build(
        "transformer", registry.resolve("transformer", {"name": "affine", "scale": "exp"})
    )
    couplings = []
    for log_g in (0.5, -2.0):
        conditioner = mlp(2, 4, 4, 1, generator(0, "c"))
        with torch.no_grad():
            conditioner.layers[-1].bias[:2] = log_g  # type: ignore[operator]
        couplings.append(Coupling(2, transformer, conditioner))
    flow = Chain(couplings).double()
    value = value_of(build("log_scale"), flow, gaussian(3, (4,)))
    assert float(value.detach()) == pytest.approx(2 * (0.5**2 + 2.0**2))
    assert not any(module._forward_hooks for module in flow.modules())


def test_normalizing_flow_is_the_negative_log_likelihood() -> None:
    x = gaussian(5, (3,))
    value = value_of(build("normalizing_flow"), ActNorm(3).double(), x)
    expected = -normal_log_prob(x).sum(1).mean()
    assert float(value.detach()) == pytest.approx(float(expected))


def test_impossible_combinations_are_refused_with_a_reason() -> None:
    refuses = registry.get("regularizer", "normalizing_flow").refuses
    assert refuses is not None
    reason = refuses(combination("density", "affine"))
    assert reason is not None
    assert "the density loss itself" in reason
    refuses = registry.get("regularizer", "log_scale").refuses
    assert refuses is not None
    assert refuses(combination("density", "affine")) is None
    reason = refuses(combination("density", "additive"))
    assert reason is not None
    assert "additive has no affine coupling" in reason


@pytest.mark.parametrize("name", registry.names("regularizer"))
def test_every_penalty_is_a_finite_scalar_that_leaves_the_weights(name: str) -> None:
    flow, shape = network(CASES[0], dtype=torch.float32)
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    value = value_of(build(name), flow, gaussian(4, shape).float())
    assert value.shape == ()
    assert value.isfinite()
    assert all(torch.equal(v, before[key]) for key, v in flow.state_dict().items())
