"""Log-dets and likelihoods in every precision, against what is known."""

import math

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.permutation import Permutation
from harness.record import Measurement, NumberStatus
from harness.seeding import generator
from tests.networks import gaussian, normal_log_prob
from tests.probes.known import known_chain
from tests.probing import inputs_in_a_cube, probed


def measured(
    flow: Bijection, x: Tensor, **parameters: object
) -> dict[tuple[str, str], Measurement]:
    choice = registry.resolve("probe", {"name": "log_det", **parameters})
    found = probed(choice, flow, inputs_in_a_cube({"test": x.float()}), generator(0, "probe"))
    return {(one.metric, one.precision): one for one in found}


class Coarse(Bijection):
    """The identity; below float64 its outputs are off by ``shift``, its log-det by ``lie``."""

    def __init__(self, shift: float = 0.0, lie: float = 0.0, refuses: bool = False) -> None:
        super().__init__()
        self.shift, self.lie, self.refuses = shift, lie, refuses

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.dtype == torch.float64:
            return x, x.new_zeros(len(x))
        if self.refuses and x.dtype == torch.float16:
            raise RuntimeError("\"something\" not implemented for 'Half'")
        return x + self.shift, x.new_full((len(x),), self.lie)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y, y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1, 1)


def _stretched(dimension: int) -> ActNorm:
    norm = ActNorm(dimension)
    with torch.no_grad():
        norm.log_scale.copy_(torch.linspace(-1, 0.9, dimension))
        norm.bias.fill_(0.3)
    return norm


def test_the_gap_of_likelihoods_is_that_of_log_det_and_latent_in_bits_per_dim() -> None:
    x = gaussian(6, (3,)).float()
    lied = measured(Coarse(lie=0.75), x)
    for level in ("median", "q90", "worst_finite"):
        gap = lied[f"likelihood_gap_bits_per_dim_{level}", "float32"].value
        assert gap == pytest.approx(0.75 / (3 * math.log(2)), rel=1e-6)
    shifted = measured(Coarse(shift=0.5), x)["likelihood_gap_bits_per_dim_worst_finite", "float32"]
    off = normal_log_prob(x.double() + 0.5).sum(1) - normal_log_prob(x.double()).sum(1)
    assert shifted.value == pytest.approx(float(off.abs().max()) / (3 * math.log(2)), rel=1e-6)
    assert not any("likelihood" in metric and p == "float64" for metric, p in lied)


@pytest.mark.parametrize("condition", [1.0, 1e6])
def test_log_dets_of_known_chains(condition: float) -> None:
    found = measured(known_chain(8, condition), gaussian(5, (8,)))
    fine, coarse = (found["jacobian_gap_worst_finite", one].value for one in ("float64", "float32"))
    assert fine < 1e-9
    assert fine <= coarse < 1e-4
    assert 0 < found["likelihood_gap_bits_per_dim_median", "float32"].value < 1e-5


def test_a_coarser_precision_has_a_wider_gap() -> None:
    found = measured(_stretched(4), gaussian(5, (4,)), precisions=["float32", "bfloat16"])
    gaps = [
        found["likelihood_gap_bits_per_dim_median", one].value for one in ("float32", "bfloat16")
    ]
    assert 0 < gaps[0] < 1e-6
    assert 1e-4 < gaps[1] < 1


def test_a_likelihood_that_is_lost_is_counted_and_in_no_quantile() -> None:
    x = torch.zeros(4, 2)
    x[0] = 3e38
    found = measured(Coarse(shift=3e38), x)
    lost = found["likelihood_gap_bits_per_dim_non_finite_fraction", "float32"]
    assert lost.value == pytest.approx(1 / 4)


def test_above_the_exact_dimensions_the_jacobian_is_missed_by_name() -> None:
    found = measured(_stretched(1501), gaussian(2, (1501,)))
    for precision in ("float32", "float64"):
        missed = found["jacobian_gap_median", precision]
        assert missed.status is NumberStatus.UNSUPPORTED
        assert missed.count == 2
        assert found["cycle_gap_median", precision].status is NumberStatus.FINITE
    assert ("jacobian_gap_worst_finite", "float64") not in found
    assert 0 < found["likelihood_gap_bits_per_dim_median", "float32"].value < 1e-4


def test_a_precision_in_which_it_does_not_run_is_named() -> None:
    found = measured(Coarse(refuses=True), gaussian(3, (2,)), precisions=["float16", "float32"])
    of_half = {metric: one for (metric, precision), one in found.items() if precision == "float16"}
    assert of_half.keys() == {
        "jacobian_gap_median",
        "cycle_gap_median",
        "likelihood_gap_bits_per_dim_median",
    }
    assert all(one.status is NumberStatus.UNSUPPORTED for one in of_half.values())
    assert found["cycle_gap_median", "float32"].value == 0


def test_its_cost_counts_the_jacobian_only_where_there_is_one() -> None:
    cost = registry.get("probe", "log_det").cost
    assert cost is not None
    parameters = registry.resolve("probe", {"name": "log_det", "points": 3}).parameters
    assert cost(parameters, 4, 2) == 3 * 2 * ((1 + 2 * 4) + 2 * 2 + 1)
    assert cost(parameters, 1501, 2) == 3 * 2 * (2 * 2 + 1)


def test_a_determinant_that_float64_does_not_resolve_says_nothing_of_a_log_det() -> None:
    found = measured(known_chain(8, 1e20), gaussian(3, (8,)))
    gap = found["jacobian_gap_median", "float64"]
    assert gap.status is NumberStatus.NOT_CONVERGED
    assert found["cycle_gap_median", "float64"].status is NumberStatus.FINITE
    resolved = measured(known_chain(8, 1e9), gaussian(3, (8,)))
    assert resolved["jacobian_gap_median", "float64"].status is NumberStatus.FINITE


def test_in_half_precision_a_likelihood_is_of_the_input_that_was_given() -> None:
    flow = Permutation(torch.randperm(6, generator=generator(0, "p")))
    found = measured(flow, gaussian(5, (6,)), precisions=["bfloat16"])
    assert found["likelihood_gap_bits_per_dim_median", "bfloat16"].value == pytest.approx(
        0, abs=1e-9
    )
