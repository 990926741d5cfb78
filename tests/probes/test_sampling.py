"""Samples of maps whose inverse gives what is known."""

import math

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.probes.subject import Inputs
from harness.record import Measurement, NumberStatus
from harness.registry import UnresolvedError
from harness.seeding import generator
from tests.networks import cases, gaussian, network
from tests.probing import inputs_in_a_cube, probed

Found = dict[tuple[str, str, str], Measurement]


def measured(flow: Bijection, inputs: Inputs | None = None, **parameters: object) -> Found:
    """By metric, inputs and precision; the training data is within ±1 if nothing is said."""
    inputs = inputs or inputs_in_a_cube({"test": gaussian(2, (2,)).float()}, step=7)
    choice = registry.resolve("probe", {"name": "sampling", **parameters})
    found = probed(choice, flow, inputs, generator(0, "probe"))
    keyed = {(m.metric, m.inputs, m.precision): m for m in found}
    assert len(keyed) == len(found), "a measurement is there twice"
    return keyed


def values(found: Found, temperature: str = "1", precision: str = "float32") -> dict[str, float]:
    where = (f"temperature_{temperature}", precision)
    return {key[0]: m.value for key, m in found.items() if key[1:] == where}


class Gives(Bijection):
    """Whose inverse is one point for z₀ ≥ 0 and another for z₀ < 0, and whose forward is x."""

    def __init__(self, one: tuple[float, ...], other: tuple[float, ...]) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.where(y[:, :1] >= 0, y.new_tensor(self.one), y.new_tensor(self.other))
        return x, y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


def scale(factor: float, dimension: int = 2) -> ActNorm:
    norm = ActNorm(dimension)
    with torch.no_grad():
        norm.log_scale.fill_(math.log(factor))
    return norm


def in_a_box(lowest: tuple[float, ...], highest: tuple[float, ...]) -> Inputs:
    x = torch.zeros(1, len(lowest))
    return Inputs({"test": x}, torch.tensor(lowest), torch.tensor(highest), step=7)


def test_samples_beyond_a_multiple_of_the_data_blew_up_as_often_as_a_normal_is() -> None:
    # x = z / 1e-2: beyond 100 where |z| > 1.
    one = inputs_in_a_cube({"test": gaussian(5, (1,)).float()})
    found = measured(scale(1e-2, 1), one)
    for temperature in (1, 2, 3):
        value = values(found, str(temperature))
        beyond = math.erfc(1 / (temperature * math.sqrt(2)))
        assert value["blown_up_fraction"] == pytest.approx(beyond, abs=0.09)
    assert values(found, "3")["re_encoding_l2_worst_finite"] < 1e-5
    assert found["blown_up_fraction", "temperature_1", "float32"].count == 256


@pytest.mark.parametrize(
    ("point", "distances"),
    [
        ((5.0, -3.0), (3.0, 3.0)),
        ((1.0, 1.0), (0.0, 0.0)),
        ((-2.5, 4.5), (1.5, 0.5)),
        ((2.0, 0.0), (0.0, 0.0)),
    ],
)
def test_the_distance_to_the_range_of_the_training_data(
    point: tuple[float, float], distances: tuple[float, float]
) -> None:
    inputs = in_a_box((-1.0, 0.0), (2.0, 4.0))
    found = measured(Gives(point, point), inputs, samples=4)
    for precision in ("float32", "float64"):
        value = values(found, "2", precision)
        for summary in ("median", "q90", "worst_finite"):
            l2, linf = (value[f"range_distance_{norm}_{summary}"] for norm in ("l2", "linf"))
            assert l2 == pytest.approx(math.hypot(*distances))
            assert linf == pytest.approx(max(distances))


def test_out_of_range_is_by_more_than_the_margin_of_half_the_range_of_all_data() -> None:
    # Half of all data's range is (4 - -1) / 2; the point is 3 outside.
    inputs, flow = in_a_box((-1.0, 0.0), (2.0, 4.0)), Gives((5.0, 1.0), (5.0, 1.0))
    for margin, fraction in ((0.0, 1), (1.1, 1), (1.2, 0), (1.3, 0)):
        value = values(measured(flow, inputs, samples=4, margin=margin))
        assert value["out_of_range_fraction"] == fraction, margin
    within = Gives((2.0, 4.0), (-1.0, 0.0))
    assert values(measured(within, inputs, margin=0.0))["out_of_range_fraction"] == 0


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        ((math.nan, 0.0), "nan"),
        ((math.inf, math.nan), "nan"),
        ((-math.inf, math.inf), "plus_inf"),
        ((0.0, -math.inf), "minus_inf"),
    ],
)
def test_what_is_not_finite_is_counted_by_kind_and_is_far_in_every_way(
    point: tuple[float, float], kind: str
) -> None:
    found = measured(Gives((0.5, 0.5), point), samples=100)
    value = values(found)
    fraction = value["non_finite_fraction"]
    assert 0.3 < fraction < 0.7
    for name in ("blown_up", "out_of_range", kind, "re_encoding_non_finite"):
        assert value[f"{name}_fraction"] == pytest.approx(fraction), name
    for name in {"nan", "plus_inf", "minus_inf"} - {kind}:
        assert value[f"{name}_fraction"] == 0
    assert value["range_distance_l2_worst_finite"] == 0


def test_temperatures_scale_the_same_noise_and_name_the_inputs() -> None:
    point = in_a_box((0.0, 0.0), (0.0, 0.0))
    found = measured(ActNorm(2), point, temperatures=[0.5, 1, 4.0, 1.0], precisions=["float64"])
    assert {key[1] for key in found} == {"temperature_0.5", "temperature_1", "temperature_4"}
    for metric in ("range_distance_l2_median", "range_distance_linf_worst_finite"):
        half, one, four = (values(found, t, "float64")[metric] for t in ("0.5", "1", "4"))
        assert 0 < 2 * half == one == four / 4
    noise = values(found, "1", "float64")["range_distance_l2_median"]
    assert noise == pytest.approx(math.sqrt(2 * math.log(2)), rel=0.1)  # of a Rayleigh distribution


@pytest.mark.parametrize("wrong", [[], [0.0], [1.0, -1.0]])
def test_temperatures_that_are_none_are_refused(wrong: list[float]) -> None:
    with pytest.raises(UnresolvedError, match="temperatures"):
        registry.resolve("probe", {"name": "sampling", "temperatures": wrong})


def test_a_solver_that_gave_up_is_in_the_status_of_numbers_and_not_of_counts() -> None:
    residual = Residual(LipschitzNetwork(2, 8, 1, 0.9, generator(0, "n")), maximum_iterations=2)
    found = measured(residual)
    for metric in ("re_encoding_l2_median", "range_distance_l2_worst_finite"):
        assert found[metric, "temperature_1", "float64"].status is NumberStatus.NOT_CONVERGED
    for metric in ("blown_up_fraction", "out_of_range_fraction", "re_encoding_non_finite_fraction"):
        assert found[metric, "temperature_1", "float64"].status is NumberStatus.FINITE


def test_what_a_precision_cannot_do_is_unsupported_and_the_others_stay() -> None:
    flow = LULinear(2, generator(0, "lu"))
    found = measured(flow, precisions=["tf32", "bfloat16", "float32"], samples=9)
    for precision in ("tf32", "bfloat16"):
        for temperature in "123":
            where = (f"temperature_{temperature}", precision)
            assert [key[0] for key in found if key[1:] == where] == ["blown_up_fraction"]
            said = found["blown_up_fraction", *where]
            assert (said.status, said.count) == (NumberStatus.UNSUPPORTED, 9)
    assert found["blown_up_fraction", "temperature_1", "float32"].status is NumberStatus.FINITE


@pytest.mark.parametrize("case", cases())
def test_no_architecture_raises_in_half_precision(case: str) -> None:
    flow, shape = network(case, dtype=torch.float32)
    inputs = inputs_in_a_cube({"test": gaussian(2, shape).float()})
    found = measured(flow, inputs, samples=2, temperatures=[3], precisions=["bfloat16", "float16"])
    assert {m.precision for m in found.values()} == {"bfloat16", "float16"}


def test_the_cost_is_two_passes_of_each_sample_in_each_precision() -> None:
    parameters = {"samples": 5, "temperatures": [1, 2], "precisions": ["float32"]}
    choice = registry.resolve("probe", {"name": "sampling", **parameters})
    cost = registry.get("probe", "sampling").cost
    assert cost is not None
    assert cost(choice.parameters, 2, 7) == 5 * 2 * 2
