"""Networks that answer as one against each by itself, over every architecture."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from harness import registry
from harness.bijections.base import Bijection
from harness.measuring.lockstep import in_lockstep
from harness.measuring.networks import AT_ONCE, PAYS_TO, Networks
from harness.precisions import PRECISIONS, USUAL, PrecisionName
from harness.probes.jacobian import jacobian, spectra
from harness.probes.subject import Probe, Question, Subject
from harness.seeding import generator
from tests.measuring.asking import (
    AFFINE,
    CALLS,
    SEEDS,
    SIZES,
    Watched,
    ask,
    assert_close,
    calls,
    each,
    flows,
    of_samples,
)
from tests.networks import cases, gaussian, network
from tests.probing import LOSS, inputs_in_a_cube


@torch.no_grad()
def there_and_back(flow: Bijection, x: Tensor) -> Any:
    CALLS.append(len(x))
    z, log_det = flow(x)
    back, inverse_log_det, report = flow.inverse_with_convergence(z)
    return {"z": z, "log_det": log_det, "back": (back, inverse_log_det, report.converged)}


def recorded_jacobian(flow: Bijection, x: Tensor) -> Tensor:
    CALLS.append(len(x))
    return jacobian(flow, x)


# Its steps depend on the inputs: each such network answers by itself (test_odd_networks.py).
TOGETHER = [case for case in cases() if not case.startswith("ffjord_adaptive")]


@pytest.mark.parametrize("function", [there_and_back, recorded_jacobian])
@pytest.mark.parametrize("precision", USUAL)
@pytest.mark.parametrize("case", TOGETHER)
def test_networks_answer_as_one_what_each_would(
    case: str, precision: PrecisionName, function: Callable[..., Any]
) -> None:
    pack = flows(case)
    x = gaussian(4, cases()[case][1]).to(PRECISIONS[precision].dtype)
    theirs = each(pack, function, precision, x)
    networks, tolerance = Networks(pack), {"float32": 5e-3, "float64": 1e-9}[precision]
    ask(networks, function, precision, x)  # finds the way
    CALLS.clear()
    ours = ask(networks, function, precision, x)
    assert CALLS[-1] == len(SEEDS) * len(x)
    assert_close(ours, theirs, tolerance)
    first, second = (pytree.tree_leaves(one)[0] for one in ours[:2])
    assert (first - second).abs().max() > 1e-3


RESIDUAL = [case for case in cases() if case.startswith("residual")]


@pytest.mark.parametrize("case", RESIDUAL)
def test_an_iterative_inverse_ends_for_each_sample_as_it_would_alone(case: str) -> None:
    pack = flows(case)
    x = gaussian(5, cases()[case][1], scale=3.0)
    x[1], x[2] = torch.nan, 0

    def report(flow: Bijection, x: Tensor) -> Any:
        with torch.no_grad():
            return flow.inverse_with_convergence(x.flatten(1))[2]

    ours, theirs = ask(Networks(pack), report, "float64", x), each(pack, report, "float64", x)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.iterations - other.iterations).abs().max() <= 1  # rounding of the last step
        assert torch.equal(one.converged, other.converged)
        assert one.converged.tolist() == [True, False, True, True, True]
    assert len({int(one.iterations.max()) for one in ours}) > 1


def test_an_inverse_of_several_residual_networks_has_no_gradient_but_each_alone_has() -> None:
    case = RESIDUAL[0]

    def slope(flow: Bijection, y: Tensor) -> Tensor:
        y = y.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((flow.inverse(y)[0] * y).sum(), y)
        return gradient

    pack, y = flows(case), gaussian(4, (2,))
    assert_close(
        ask(Networks(pack), slope, "float64", y), each(pack, slope, "float64", y), tolerance=1e-12
    )


def test_only_questions_that_are_alike_are_answered_as_one() -> None:
    x = gaussian(4, (2,)).float()
    networks = Networks(flows(AFFINE))
    assert calls(networks, x, 2 * x, 3 * x) == [12]
    assert calls(networks, x, x[:2], 3 * x) == [8, 2]


def test_large_inputs_are_answered_one_by_one_where_they_are_work_enough() -> None:
    most = PAYS_TO["cpu"] // 8  # two dimensions in float32
    x = gaussian(most + 1, (2,)).float()
    networks = Networks(flows(AFFINE))
    assert calls(networks, *[x[:most]] * 3) == [3 * most]
    assert calls(networks, *[x] * 3) == [most + 1] * 3


def test_as_many_networks_answer_as_one_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = gaussian(4, (2,)).float()
    monkeypatch.setitem(AT_ONCE, "cpu", 2 * x.nbytes + 1)
    assert calls(Networks(flows(AFFINE)), x, 2 * x, 3 * x) == [8, 4]


def test_other_networks_in_turn_are_not_taken_for_the_same() -> None:
    x, networks = gaussian(4, (2,)).float(), Networks(flows(AFFINE))
    for numbers in ((0, 1), (1, 2), (0, 2), (0, 1)):
        found = networks.answer({n: Question(of_samples, "float32", (x,)) for n in numbers})
        for number in numbers:
            expected = network(AFFINE, number, torch.float32)[0](x)[0].detach()
            torch.testing.assert_close(found[number].unwrap(), expected, rtol=1e-4, atol=1e-4)


def test_questions_in_two_precisions_are_not_alike() -> None:
    x, networks = gaussian(4, (2,)).float(), Networks(flows(AFFINE))
    precisions: tuple[PrecisionName, ...] = ("float32", "float64", "float32")
    found = networks.answer(
        {
            number: Question(of_samples, precision, (x.to(PRECISIONS[precision].dtype),))
            for number, precision in enumerate(precisions)
        }
    )
    assert [found[number].unwrap().dtype for number in range(3)] == [
        PRECISIONS[precision].dtype for precision in precisions
    ]


def test_spectra_within_the_limits_of_a_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the Jacobians of all are too many at a time, each network answers by itself."""
    monkeypatch.setattr("harness.probes.jacobian.LARGEST", 5 * 2 * 2)
    pack, x = flows(AFFINE), gaussian(4, (2,))
    ours = ask(Networks(pack), spectra, "float64", x)
    assert_close(ours, each(pack, spectra, "float64", x), 1e-9)


BY_ITSELF = {"attack", "gradient_fidelity", "layer_profile", "normalization", "worst_point"}
"""Probes that ask for layers or for gradients by weights, which several networks made one have
not; the attack's second derivatives of convolutions are not vectorised, nor are gradients of
iterative inverses, and the points of an integral or of a search are too many for it to pay."""
PROBES = {
    name: registry.resolve("probe", {"name": name, SIZES.get(name, "points"): 4})
    for name in registry.names("probe")
    if name not in BY_ITSELF
}


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("case", TOGETHER)
def test_no_built_in_probe_falls_back_to_one_by_one(case: str, probe: str) -> None:
    networks = Watched(flows(case))
    inputs = inputs_in_a_cube({"test": gaussian(4, cases()[case][1]).float()})
    run: Probe = registry.build("probe", PROBES[probe])
    coroutines = [run(Subject(inputs, LOSS), generator(seed, probe)) for seed in SEEDS]
    ended = list(in_lockstep(coroutines, networks.answer, networks.pays))
    assert len(ended) == len(SEEDS)
    assert all(one.result.unwrap() for one in ended)
    assert networks.alone == []
