"""Every probe on maps whose numbers are known."""

import math

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.probes.subject import Inputs
from harness.record import LayerMeasurement, Measurement, NumberStatus
from harness.seeding import generator
from tests.networks import cases, gaussian, network
from tests.probing import CHEAP, inputs_in_a_cube, probed

Found = dict[tuple[str, str, str], Measurement]


def measure(probe: str, flow: Bijection, inputs: Inputs) -> Found:
    choice = registry.resolve("probe", {"name": probe, **CHEAP.get(probe, {})})
    found = probed(choice, flow, inputs, generator(0, "probe"))
    keyed = {(metric_of(m), m.inputs, m.precision): m for m in found}
    assert len(keyed) == len(found), "a measurement is there twice"
    assert all(m.probe == probe and m.step == inputs.step for m in found)
    return keyed


def metric_of(m: Measurement) -> str:
    return f"{m.metric} of layer {m.layer}" if isinstance(m, LayerMeasurement) else m.metric


def inputs_of(x: Tensor, **more: Tensor) -> Inputs:
    return inputs_in_a_cube({"test": x.float(), **{k: v.float() for k, v in more.items()}}, step=7)


def diagonal(*scales: float) -> ActNorm:
    norm = ActNorm(len(scales))
    with torch.no_grad():
        norm.log_scale.copy_(torch.tensor(scales).log())
    return norm


class Liar(Bijection):
    """``y = 2x`` that reports a log-det too large by 1/4."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 2 * x, x.new_full((len(x),), x.shape[1] * math.log(2) + 0.25)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y / 2, y.new_full((len(y),), -y.shape[1] * math.log(2))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(2, 0.5)


def test_a_log_det_of_a_solver_that_gave_up_says_so() -> None:
    residual = Residual(LipschitzNetwork(2, 8, 1, 0.9, generator(0, "n")), maximum_iterations=2)
    log_dets = measure("log_det", residual, inputs_of(gaussian(10, (2,))))
    assert log_dets["cycle_gap_median", "test", "float64"].status is NumberStatus.NOT_CONVERGED
    assert log_dets["jacobian_gap_median", "test", "float64"].status is NumberStatus.FINITE


def test_a_singular_value_below_resolution_is_not_passed_off_as_known() -> None:
    lopsided = measure("bi_lipschitz", diagonal(1e-18, 1.0), inputs_of(gaussian(5, (2,))))
    assert lopsided["inverse_worst", "test", "float64"].status is NumberStatus.NOT_CONVERGED
    assert lopsided["condition_number_median", "test", "float64"].status == "not_converged"
    assert lopsided["unresolved_fraction", "test", "float64"].value == 1
    assert lopsided["forward_worst", "test", "float64"].status is NumberStatus.FINITE
    fine = measure("bi_lipschitz", diagonal(1e-9, 1.0), inputs_of(gaussian(5, (2,))))
    assert fine["inverse_worst", "test", "float64"].value == pytest.approx(1e9)
    assert fine["unresolved_fraction", "test", "float64"].value == 0


def test_bi_lipschitz_of_a_diagonal_map() -> None:
    far = torch.full((3, 3), 100.0)
    found = measure("bi_lipschitz", diagonal(0.5, 1, 8), inputs_of(gaussian(5, (3,)), far=far))
    for name in ("test", "far"):
        value = {key[0]: m.value for key, m in found.items() if key[1] == name}
        assert value["forward_worst"] == value["forward_median"] == pytest.approx(8)
        assert value["inverse_worst"] == pytest.approx(2)
        assert value["condition_number_worst"] == pytest.approx(16)
        assert value["non_finite_fraction"] == 0
    assert found["bound_forward", "none", "float64"].value == pytest.approx(8)
    assert found["bound_inverse", "none", "float64"].value == pytest.approx(2)


def test_bi_lipschitz_masks_jacobians_that_are_not_finite() -> None:
    x = gaussian(4, (2,))
    x[0] = torch.nan
    residual = Residual(LipschitzNetwork(2, 8, 1, 0.9, generator(0, "n")))
    found = measure("bi_lipschitz", residual, inputs_of(x))
    assert found["non_finite_fraction", "test", "float64"].value == pytest.approx(1 / 4)
    assert 1 < found["forward_worst", "test", "float64"].value < 1.9


def test_log_det_finds_a_wrong_one() -> None:
    found = measure("log_det", Liar(), inputs_of(gaussian(6, (3,))))
    for precision in ("float32", "float64"):
        gap = found["jacobian_gap_median", "test", precision].value
        assert gap == pytest.approx(0.25, abs=1e-6)
        assert found["cycle_gap_worst_finite", "test", precision].value == pytest.approx(0.25)
        assert found["jacobian_gap_non_finite_fraction", "test", precision].value == 0


@pytest.mark.parametrize("probe", registry.names("probe"))
@pytest.mark.parametrize("case", cases())
def test_no_probe_changes_the_network_and_all_repeat(probe: str, case: str) -> None:
    flow, shape = network(case, dtype=torch.float32)
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    inputs = inputs_of(gaussian(3, shape), far=gaussian(3, shape, scale=5))
    first, second = (measure(probe, flow, inputs) for _ in range(2))
    after = flow.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(p.dtype == torch.float32 for p in flow.parameters())
    assert first.keys() == second.keys()
    for key, m in first.items():
        assert repr(m.value) == repr(second[key].value)
        assert m.status in {NumberStatus.of(m.value), NumberStatus.NOT_CONVERGED}


@pytest.mark.parametrize("case", cases())
def test_measured_constants_stay_below_the_bounds(case: str) -> None:
    flow, shape = network(case, dtype=torch.float32)
    found = measure("bi_lipschitz", flow, inputs_of(gaussian(4, shape)))
    for side in ("forward", "inverse"):
        bound = found[f"bound_{side}", "none", "float64"].value
        assert found[f"{side}_worst", "test", "float64"].value <= bound * (1 + 1e-9)
