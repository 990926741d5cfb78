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
from tests.probing import inputs_in_a_cube, probed

Found = dict[tuple[str, str, str], Measurement]

SMALL: dict[str, dict[str, object]] = {"attack": {"steps": 1, "norms": ["l2"]}}
"""Settings that cost less than the defaults."""


def measure(probe: str, flow: Bijection, inputs: Inputs) -> Found:
    choice = registry.resolve("probe", {"name": probe, **SMALL.get(probe, {})})
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


class Torn(Bijection):
    """The identity, but the inverse is off by 1/2 where x₀ > 1, NaN where < -1, inf below -2."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        off = torch.where(y[:, 0] > 1, 0.5, 0.0)
        off = torch.where(y[:, 0] < -1, torch.nan, off)
        off = torch.where(y[:, 0] < -2, torch.inf, off)
        x = y.clone()
        x[:, 1] += off
        return x, y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


class Liar(Bijection):
    """``y = 2x`` that reports a log-det too large by 1/4."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 2 * x, x.new_full((len(x),), x.shape[1] * math.log(2) + 0.25)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y / 2, y.new_full((len(y),), -y.shape[1] * math.log(2))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(2, 0.5)


def test_reconstruction_counts_what_is_not_finite_and_keeps_it_out_of_quantiles() -> None:
    first = torch.tensor([-3.0, -1.5, 0.0, 0.5, 2.0])
    found = measure("reconstruction", Torn(), inputs_of(torch.stack([first, first], 1)))
    for precision in ("float32", "float64"):
        value = {key[0]: m.value for key, m in found.items() if key[2] == precision}
        assert value["non_finite_fraction"] == pytest.approx(2 / 5)
        assert value["l2_median"] == 0.0
        assert value["l2_worst_finite"] == pytest.approx(0.5)
    assert all(m.count == 5 for m in found.values())


def test_reconstruction_with_nothing_finite_is_nan_and_says_so() -> None:
    x = torch.full((4, 2), -1.5)
    found = measure("reconstruction", Torn(), inputs_of(x))
    median = found["l2_median", "test", "float32"]
    assert math.isnan(median.value)
    assert median.status is NumberStatus.NAN
    assert found["non_finite_fraction", "test", "float32"].value == 1


def test_reconstruction_tells_rounding_by_precision() -> None:
    found = measure("reconstruction", diagonal(1e-3, 1e3), inputs_of(1 + gaussian(100, (2,))))
    in_float32 = found["l2_median", "test", "float32"].value
    in_float64 = found["l2_median", "test", "float64"].value
    assert 1e-9 < in_float32 < 1e-5
    assert in_float64 < 1e-7 * in_float32


def test_reconstruction_reports_a_solver_that_gave_up() -> None:
    residual = Residual(LipschitzNetwork(2, 8, 1, 0.9, generator(0, "n")), maximum_iterations=2)
    found = measure("reconstruction", residual, inputs_of(gaussian(10, (2,))))
    assert found["not_converged_fraction", "test", "float64"].value == 1
    assert found["solver_iterations_worst", "test", "float64"].value == 2
    assert found["solver_residual_worst", "test", "float64"].value > 0
    assert found["l2_median", "test", "float64"].status is NumberStatus.NOT_CONVERGED
    assert found["non_finite_fraction", "test", "float64"].status is NumberStatus.FINITE
    sampled = measure("sampling", residual, inputs_of(gaussian(10, (2,))))
    re_encoded = sampled["re_encoding_l2_median", "temperature_1", "float64"]
    assert re_encoded.status is NumberStatus.NOT_CONVERGED
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


def test_sampling_counts_what_blew_up() -> None:
    # x = z / 1e-2: beyond 100 where |z_i| > 1 for some i, at temperature 1.
    found = measure("sampling", diagonal(1e-2), inputs_of(gaussian(5, (1,))))
    by_temperature = [
        found["blown_up_fraction", f"temperature_{t}", "float32"].value for t in (1, 2, 3)
    ]
    beyond = [math.erfc(1 / (t * math.sqrt(2))) for t in (1, 2, 3)]
    assert by_temperature == pytest.approx(beyond, abs=0.09)
    assert found["re_encoding_l2_worst_finite", "temperature_3", "float32"].value < 1e-5


def test_sampling_counts_nan_as_blown_up() -> None:
    found = measure("sampling", Torn(), inputs_of(gaussian(5, (2,))))
    expected = 0.5 * math.erfc(1 / math.sqrt(2))
    fraction = found["blown_up_fraction", "temperature_1", "float32"].value
    assert fraction == pytest.approx(expected, abs=0.07)


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
