import math
from dataclasses import replace
from pathlib import Path

import numpy as np
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
from harness.regularizers.directions import unit_directions
from harness.regularizers.published import batch_directions
from harness.seeding import generator
from harness.training.stack import Stack
from tests.networks import cases, gaussian, network, normal_log_prob

TIGHT: dict[str, dict[str, object]] = {
    "inverse_gain": {"most": 0.1},
    "spectral_normalization": {"most": 0.1},
}
"""Settings with which a hinge is not at rest."""
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
@pytest.mark.parametrize("name", [name for name in registry.names("regularizer") if name != "none"])
def test_the_gradient_is_that_of_the_value(name: str, case: str) -> None:
    if name in ("inverse_gain", "jacobian"):
        return  # of these below, on every architecture
    check_slope(name, case)


def check_slope(name: str, case: str) -> None:
    """Autograd against a central difference along a random direction of the weights."""
    flow, shape = network(case)
    x, penalty = gaussian(4, shape), build({"name": name, **TIGHT.get(name, {})})
    flow.zero_grad()
    value = value_of(penalty, flow, x)
    if not value.requires_grad:
        assert name in ("log_scale", "spectral_normalization")
        assert case.startswith("residual")  # which these refuse
        return
    value.backward()  # type: ignore[no-untyped-call]
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
    assert slope == pytest.approx(numeric, rel=1e-4, abs=1e-9)


def scaling(a: float) -> ActNorm:
    norm = ActNorm(4).double()
    with torch.no_grad():
        norm.log_scale.fill_(math.log(a))
    return norm


SCALED: list[tuple[object, float, float]] = [
    ("jacobian", 3.0, 9 + 1 / 9),
    ("published_finite_difference", 3.0, 0.1 * 4 * (9 + 1 / 9)),
    ("robust_finite_difference", 0.1, math.log(101)),
    ({"name": "robust_finite_difference", "forward": True}, 0.1, math.log(101) + math.log(1.01)),
    ({"name": "inverse_gain", "most": 2.0}, 0.1, math.log(5) ** 2),
    ({"name": "inverse_gain", "most": 2.0}, 0.6, 0.0),
    ("weight_decay", 3.0, 2 * math.log(3) ** 2),
]


@pytest.mark.parametrize(("given", "a", "expected"), SCALED)
def test_a_scaling_has_the_penalty_of_its_formula(given: object, a: float, expected: float) -> None:
    value = value_of(build(given), scaling(a), gaussian(8, (4,)))
    assert float(value.detach()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_published_direction_has_length_one_over_the_batch() -> None:
    d = batch_directions(gaussian(128, (3, 2, 2)), generator(0, "d"))
    torch.testing.assert_close(d.norm(dim=0), torch.ones(3, 2, 2, dtype=d.dtype))


def test_self_consistency_is_the_error_of_a_rounded_latent() -> None:
    x, penalty = gaussian(6, (4,)), build("self_consistency")
    (xi,) = penalty.draw(x, generator(0, "v"))
    assert (xi.abs() <= 1).all()
    assert float(xi.std()) == pytest.approx(3**-0.5, rel=0.3)
    expected = ((x * xi) ** 2).sum(1).mean()  # z / a = x
    assert float(penalty.penalty(scaling(3.0), x, xi).detach()) == pytest.approx(float(expected))


@pytest.mark.parametrize("case", CASES[:1])
def test_products_and_small_differences_are_those_of_the_dense_jacobian(case: str) -> None:
    flow, shape = network(case)
    x = gaussian(3, shape)
    z = flow(x)[0].detach()
    dense = torch.stack(
        [
            torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
                lambda x: flow(x)[0][0], one.unsqueeze(0)
            ).view(len(one), -1)
            for one in x
        ]
    )
    inverse = torch.linalg.inv(dense)
    difference, products = build({"name": "finite_difference", "step": 1e-5}), build("jacobian")
    v, w = difference.draw(x, generator(0, "v"))
    expected = ((dense @ v.unsqueeze(2)) ** 2).sum() + ((inverse @ w.unsqueeze(2)) ** 2).sum()
    value = difference.penalty(flow, x, v, w)
    assert float(value.detach()) == pytest.approx(float(expected) / len(x), rel=1e-3)
    u, w = products.draw(z, generator(1, "u"))
    expected = ((dense.mT @ u.unsqueeze(2)) ** 2).sum() + ((inverse.mT @ w.unsqueeze(2)) ** 2).sum()
    value = products.penalty(flow, x, u, w)
    assert float(value.detach()) == pytest.approx(float(expected) / len(x), rel=1e-6)


class Overflows(ActNorm):
    """Whose inverse overflows, to NaN as networks' do, beyond 50 in y₁ and near the origin."""

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse(y)
        beyond = (y[:, :1] - 50).clamp_min(0) + (0.1 - y.abs().amax(1, keepdim=True)).clamp_min(0)
        large = (1e5 * beyond).exp()
        return x * large - large + 1, log_det


def overflowing(seed: int, *beyond: int) -> tuple[Overflows, Tensor]:
    """A network, and inputs of which these overflow."""
    flow, x = Overflows(4).double(), gaussian(3 + seed, (4,))[:3]
    with torch.no_grad():
        flow.log_scale.fill_(0.1 * seed)
    x[list(beyond), 0] = 60.0
    return flow, x


def test_what_overflows_is_left_out_and_touches_no_other_sample() -> None:
    flow, x = overflowing(0, 1)
    drawn = build("robust_finite_difference").draw(x, generator(0, "v"))

    def gradient(name: str, chosen: list[int]) -> tuple[float, Tensor]:
        value = build(name).penalty(flow, x[chosen], *(one[chosen] for one in drawn))
        (found,) = torch.autograd.grad(value, flow.log_scale)
        return float(value.detach()), found

    all_of_them, those = gradient("robust_finite_difference", [0, 1, 2])
    value, found = gradient("robust_finite_difference", [0, 2])
    assert value > 0
    assert all_of_them == pytest.approx(value * 2 / 3)
    torch.testing.assert_close(those, found * 2 / 3)
    for name in ("finite_difference", "published_finite_difference"):
        value, found = gradient(name, [0, 1, 2])
        assert not math.isfinite(value)
        assert not found.isfinite().all()


def test_where_no_sample_comes_back_nothing_is_asked() -> None:
    class FarAlone(Overflows):
        def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            x, log_det = ActNorm.inverse(self, y)
            return x * (1e5 * (y[:, :1] - 50).clamp_min(0)).exp(), log_det

    flow, x = FarAlone(4).double(), torch.full((3, 4), 60.0, dtype=torch.float64)
    value = value_of(build("robust_finite_difference"), flow, x)
    (found,) = torch.autograd.grad(value, flow.log_scale)
    assert float(value.detach()) == 0
    assert not found.any()


def test_what_overflows_in_one_network_touches_no_other_of_its_pack() -> None:
    penalty = build({"name": "robust_finite_difference", "forward": True})
    pairs = [overflowing(0, 1), overflowing(1), overflowing(2, 0, 2)]
    drawn = [penalty.draw(x, generator(seed, "v")) for seed, (_, x) in enumerate(pairs)]
    alone = []
    for (flow, x), own in zip(pairs, drawn, strict=True):
        value = penalty.penalty(flow, x, *own)
        (found,) = torch.autograd.grad(value, flow.log_scale)
        alone.append((value.detach(), found))
    stack = Stack([flow for flow, _ in pairs])
    stacked = [torch.stack(one) for one in zip(*drawn, strict=True)]
    values = stack.run(penalty.penalty, torch.stack([x for _, x in pairs]), *stacked)
    torch.testing.assert_close(values.detach(), torch.stack([value for value, _ in alone]))
    found = stack.differentiate(values)
    names = [name for name, _ in pairs[0][0].named_parameters()]
    scales = found.view(3, len(names), 4)[:, names.index("log_scale")]
    torch.testing.assert_close(scales, torch.stack([one for _, one in alone]))


def test_spectral_norms_above_the_most_are_penalised() -> None:
    flow, _ = network(CASES[0])
    norms = [
        float(np.linalg.svd(weight.detach())[1][0])
        for name, weight in flow.named_parameters()
        if "conditioner" in name and weight.ndim == 2
    ]
    most = float(np.median(norms))
    assert min(norms) < most < max(norms)
    penalty = build({"name": "spectral_normalization", "most": most})
    expected = sum(max(0.0, norm - most) ** 2 for norm in norms)
    assert float(value_of(penalty, flow, gaussian(2, (5,))).detach()) == pytest.approx(expected)


def twice_differentiated() -> list[tuple[str, str]]:
    found = []
    for case, (chosen, shape) in cases().items():
        where = replace(combination("density", chosen), shape=shape)
        for name in ("inverse_gain", "jacobian"):
            refuses = registry.get("regularizer", name).refuses
            if refuses is not None and refuses(where) is None:
                found.append((name, case))
    return found


@pytest.mark.parametrize(("name", "case"), twice_differentiated())
def test_inverses_that_are_differentiated_twice_have_second_derivatives(
    name: str, case: str
) -> None:
    """Of every architecture that is not refused; what iterates is."""
    assert not case.startswith(("residual", "i_densenet", "bilipnet", "flow_plus_plus"))
    check_slope(name, case)


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
    refuses = registry.get("regularizer", "spectral_normalization").refuses
    assert refuses is not None
    assert refuses(combination("density", "additive")) is None
    reason = refuses(combination("density", "residual"))
    assert reason is not None
    assert "residual has no conditioner" in reason
    for name in ("inverse_gain", "jacobian"):
        refuses = registry.get("regularizer", name).refuses
        assert refuses is not None
        assert refuses(combination("density", "affine")) is None
        reason = refuses(combination("density", "residual"))
        assert reason is not None
        assert "residual iterates and has first derivatives only" in reason


ONE_WAY = """
from torch import nn

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.linear.actnorm import ActNorm


class Doubling(Bijection):
    def forward(self, x, context=None):
        return 2 * x, x.new_zeros(len(x))


def chain(shape, generator):
    return Chain([ActNorm(2), Doubling()])


def plain(shape, generator):
    return nn.Linear(2, 2)
"""


@pytest.mark.parametrize("name", registry.names("regularizer"))
def test_no_penalty_runs_an_inverse_that_is_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one_way_networks.py").write_text(ONE_WAY)
    monkeypatch.syspath_prepend(tmp_path)
    entry = registry.get("regularizer", name)
    if "inverse" not in entry.uses or name == "reconstruction":  # which needs a learned one
        return
    assert entry.refuses is not None
    for factory, why in (("chain", "layer 1, Doubling, of"), ("plain", "has no method 'inverse'")):
        one_way = registry.resolve("architecture", {"import": f"one_way_networks:{factory}"})
        chosen = registry.resolve("regularizer", name)
        where = replace(combination("density", "affine"), architecture=one_way, regularizer=chosen)
        reason = entry.refuses(where)
        assert reason is not None
        assert reason.startswith(f"{name} runs the inverse")
        assert why in reason


@pytest.mark.parametrize("name", registry.names("regularizer"))
def test_every_penalty_is_a_finite_scalar_that_leaves_the_weights(name: str) -> None:
    flow, shape = network(CASES[0], dtype=torch.float32)
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    value = value_of(build(name), flow, gaussian(4, shape).float())
    assert value.shape == ()
    assert value.isfinite()
    assert all(torch.equal(v, before[key]) for key, v in flow.state_dict().items())
