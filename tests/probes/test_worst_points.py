"""Worst points, certificates and the mass of a density, on maps whose answers are known."""

import math

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.actnorm import ActNorm
from harness.probes.ends import AtEnds
from harness.record import Measurement, NumberStatus
from harness.seeding import generator
from tests.networks import cases, gaussian, network
from tests.probes.known import known_chain
from tests.probing import inputs_in_a_cube, probed

Found = dict[tuple[str, str], Measurement]


def measured(
    probe: str, flow: Bijection, x: Tensor, radius: float = 1.0, **parameters: object
) -> Found:
    choice = registry.resolve("probe", {"name": probe, **parameters})
    inputs = inputs_in_a_cube({"test": x.float()}, radius)
    found = probed(choice, flow, inputs, generator(0, "probe"))
    return {(one.metric, one.inputs): one for one in found}


class Cubic(Bijection):
    """``y = x + x³/3`` elementwise: the Jacobian is diagonal, ``1 + x²``."""

    def __init__(self, claimed: float = 1.0) -> None:
        super().__init__()
        self.claimed = claimed

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x + x**3 / 3, (1 + x**2).log().sum(1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = y
        for _ in range(30):
            x = x - (x + x**3 / 3 - y) / (1 + x**2)
        return x, -(1 + x**2).log().sum(1)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """Of a box the truth, but for the factor that is claimed; the inverse's is 1 at 0."""
        if box is None:
            return BiLipschitz(math.inf, 1.0)
        furthest = float(torch.maximum(box.lower.abs(), box.upper.abs()).max())
        return BiLipschitz(self.claimed * (1 + furthest**2), 1.0)


@pytest.mark.parametrize(("region", "furthest"), [("box", 1.0), ("ball", math.sqrt(2))])
@pytest.mark.parametrize("times", [1.0, 3.0])
def test_the_worst_point_of_a_known_map(region: str, furthest: float, times: float) -> None:
    x = 0.3 * gaussian(20, (2,))
    found = measured("worst_point", Cubic(), x, region=region, times=times, steps=20)
    place, right = f"data_{region}", 1 + (furthest * times) ** 2
    worst = found["forward_worst", place]
    assert worst.value == pytest.approx(right, rel=0.02)
    assert worst.value <= right * (1 + 1e-12)
    assert worst.status is NumberStatus.FINITE
    assert found["random_forward_worst", place].value <= worst.value
    assert 0.8 < found["inverse_worst", place].value <= 1 + 1e-12
    assert found["condition_number_worst", place].value <= right * (1 + 1e-12)
    assert found["bound_forward", place].value * (1 + 1e-12) >= worst.value
    assert found["non_finite_fraction", place].value == 0


@pytest.mark.parametrize("exact", [True, False])
def test_the_slopes_of_both_ends_are_those_of_differences(exact: bool) -> None:
    case = next(one for one in cases() if one.startswith("glow"))
    flow, shape = network(case, 0, torch.float64)
    x, along = gaussian(3, shape).double(), gaussian(3, shape).double()
    asked = AtEnds(exact, slopes=True, tolerance=1e-9, steps=60)
    ends = asked(flow.eval(), x, along)
    step = 1e-5
    there, back = (asked(flow, x + sign * step * along, along) for sign in (1, -1))
    for end in ("forward", "inverse"):
        quotient = (getattr(there, end) - getattr(back, end)) / (2 * step)
        slope = (getattr(ends, f"{end}_slope") * along).flatten(1).sum(1)
        torch.testing.assert_close(slope, quotient, rtol=1e-4, atol=1e-6)


def test_certificates_hold_and_are_as_tight_as_they_are() -> None:
    x = torch.cat([0.5 * gaussian(6, (2,)).clamp(-1.9, 1.9), torch.full((1, 2), 5.0)])
    found = measured("certificates", Cubic(), x, steps=12)
    assert found["bound_forward", "none"].value == math.inf
    assert found["ratio_forward", "none"].value == math.inf
    assert found["measured_forward", "none"].value == pytest.approx(26)  # 1 + 5², outside the box
    inside = found["measured_forward", "data_box"]
    assert 1.8 < inside.value <= 2 * (1 + 1e-12)
    assert found["bound_forward", "data_box"].value == 2
    assert found["ratio_forward", "data_box"].value == pytest.approx(2 / inside.value)
    for place in ("none", "data_box"):
        assert found["violated_forward", place].value == 0
        assert found["violated_inverse", place].value == 0


def test_a_wrong_certificate_is_found_out() -> None:
    x = 0.5 * gaussian(6, (2,)).clamp(-1.9, 1.9)
    found = measured("certificates", Cubic(claimed=0.7), x, steps=12)
    assert found["violated_forward", "data_box"].value == 1
    assert found["ratio_forward", "data_box"].value < 1
    assert found["violated_inverse", "data_box"].value == 0


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("dimension", [8, 64])
def test_certificates_of_a_known_chain_are_tight(dimension: int, condition: float) -> None:
    flow = known_chain(dimension, condition)
    found = measured("certificates", flow, gaussian(2, (dimension,)), starts=0)
    assert found["measured_forward", "none"].value == pytest.approx(1, rel=1e-6)
    assert found["measured_inverse", "none"].value == pytest.approx(condition, rel=1e-4)
    assert found["bound_inverse", "none"].value == pytest.approx(condition, rel=1e-4)
    for end in ("forward", "inverse"):
        assert found[f"violated_{end}", "none"].value == 0
        assert found[f"ratio_{end}", "none"].value == pytest.approx(1, rel=1e-4)


class Liar(Bijection):
    """``y = 2x`` that reports a log-det too large by 1/4."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 2 * x, x.new_full((len(x),), x.shape[1] * math.log(2) + 0.25)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y / 2, y.new_full((len(y),), -y.shape[1] * math.log(2))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(2, 0.5)


def scaled(dimension: int) -> ActNorm:
    norm = ActNorm(dimension)
    with torch.no_grad():
        norm.log_scale.copy_(torch.linspace(-0.3, 0.5, dimension))
        norm.bias.fill_(0.25)
    return norm


@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_the_mass_of_a_density_is_one_unless_its_log_det_lies(dimension: int) -> None:
    x = gaussian(5, (dimension,))
    place = "wide_box" if dimension <= 2 else "samples"
    for flow, right in ((scaled(dimension), 1.0), (Liar(), math.exp(0.25))):
        found = measured("normalization", flow, x, radius=5.0, tolerance=1e-7)
        integral = found["integral", place]
        assert integral.value == pytest.approx(right, rel=1e-6)
        assert integral.status is NumberStatus.FINITE
        assert found["integral_error", place].value < 1e-6
        assert found["non_finite_fraction", place].value == 0


def test_mass_outside_the_box_shows_at_its_edge() -> None:
    found = measured("normalization", Liar(), gaussian(5, (2,)), radius=0.2, times=1.0)
    assert found["integral", "wide_box"].value < 0.5
    assert found["edge_mass", "wide_box"].value > 0.02


def test_of_a_trained_like_flow_the_mass_is_one_within_its_error() -> None:
    case = next(one for one in cases() if one.startswith("neural_spline") and one.endswith("on 2"))
    flow, shape = network(case, 0, torch.float32)
    found = measured("normalization", flow.eval(), gaussian(5, shape), radius=8.0)
    off = abs(found["integral", "wide_box"].value - 1)
    assert off <= 10 * found["integral_error", "wide_box"].value + 1e-6


def test_a_precision_that_is_not_there_is_said() -> None:
    found = measured("normalization", scaled(2), gaussian(5, (2,)), precisions=["tf32"])
    assert found["integral", "wide_box"].status is NumberStatus.UNSUPPORTED


class Shrinking(Bijection):
    """``y = (a, b exp(-Σ a))``: where b = 0, 1/σ_min is ``exp(Σ a)``, and large in one corner."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, b = x[:, :-1], x[:, -1:]
        total = a.sum(1, keepdim=True)
        return torch.cat([a, b * (-total).exp()], 1), -total.squeeze(1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, b = y[:, :-1], y[:, -1:]
        total = a.sum(1, keepdim=True)
        return torch.cat([a, b * total.exp()], 1), total.squeeze(1)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


@pytest.mark.parametrize("exact", [True, False])
def test_the_worst_point_of_an_inverse_is_climbed_to(
    exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corner of seven dimensions, which chance does not meet."""
    if not exact:
        monkeypatch.setattr("harness.probes.bi_lipschitz.EXACT_UP_TO", 1)
    x = 0.1 * gaussian(20, (7,))
    found = measured("worst_point", Shrinking(), x, starts=4, steps=15)
    worst, random = (found[f"{name}inverse_worst", "data_box"] for name in ("", "random_"))
    assert worst.value > 0.9 * math.exp(6)
    assert random.value < 0.5 * worst.value
    condition = found["condition_number_worst", "data_box"]
    assert condition.value > 0.9 * math.exp(6)


class Broken(Cubic):
    """Not finite for a negative first entry."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = super().forward(x)
        return y * torch.where(x[:, :1] < 0, torch.nan, 1.0), log_det


def test_points_that_are_lost_are_counted_and_the_others_climbed() -> None:
    found = measured("worst_point", Broken(), 0.3 * gaussian(20, (2,)), steps=20)
    assert 0.2 < found["random_non_finite_fraction", "data_box"].value < 0.8
    assert 0 < found["non_finite_fraction", "data_box"].value < 0.8
    assert found["forward_worst", "data_box"].value == pytest.approx(2, rel=0.02)


def test_a_constant_that_rounding_hides_is_not_passed_off_as_measured() -> None:
    """1/σ_min = 1e18 is beyond what float64 tells from infinity beside σ_max = 1."""
    flow, sunk = ActNorm(4).double(), torch.tensor([1.0, 1.0, 1.0, 1e-18])
    with torch.no_grad():
        flow.log_scale.copy_(sunk.double().log())
    found = measured("certificates", flow, gaussian(5, (4,)))
    assert found["measured_inverse", "none"].status is NumberStatus.NOT_CONVERGED
    assert found["ratio_inverse", "none"].status is NumberStatus.NOT_CONVERGED
    assert found["measured_forward", "none"].status is NumberStatus.FINITE
    assert found["violated_inverse", "none"].value == 0


def test_a_density_between_the_points_is_not_one_of_mass_zero() -> None:
    flow = ActNorm(2)
    with torch.no_grad():
        flow.log_scale.fill_(math.log(1e5))
        flow.bias.fill_(0.37e5)
    found = measured("normalization", flow, gaussian(5, (2,)))
    integral = found["integral", "wide_box"]
    assert integral.value < 0.5
    assert integral.status is NumberStatus.NOT_CONVERGED


def test_an_average_of_few_samples_is_none() -> None:
    few = measured("normalization", scaled(4), gaussian(5, (4,)), samples=4)
    assert few["integral", "samples"].status is NumberStatus.NOT_CONVERGED
    enough = measured("normalization", scaled(4), gaussian(5, (4,)), samples=16)
    assert enough["integral", "samples"].status is NumberStatus.FINITE
    assert enough["integral", "samples"].value == pytest.approx(1, rel=1e-5)
