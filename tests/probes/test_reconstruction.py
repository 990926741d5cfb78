"""Reconstruction errors of maps whose inverse is off by what is known, and where they are from."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.continuous.neural_ode import NeuralODE
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.precisions import available
from harness.probes.round_trip import invert_well
from harness.probes.subject import Inputs
from harness.record import Measurement, NumberStatus
from harness.seeding import generator
from tests.networks import cases, gaussian, network, perturb
from tests.probes.known import known_chain
from tests.probing import inputs_in_a_cube, probed
from tests.vector_fields import linear_field, matrix, of_one_step

Found = dict[tuple[str, str, str], Measurement]
OFF = (3.0, -4.0, 0.0, 0.0)
BOTH = ("float32", "float64")


def measured(flow: Bijection, inputs: Tensor | Inputs, **parameters: object) -> Found:
    """By metric, inputs and precision."""
    if isinstance(inputs, Tensor):
        inputs = inputs_in_a_cube({"test": inputs.float()}, step=7)
    choice = registry.resolve("probe", {"name": "reconstruction", **parameters})
    found = probed(choice, flow, inputs, generator(0, "probe"))
    keyed = {(m.metric, m.inputs, m.precision): m for m in found}
    assert len(keyed) == len(found), "a measurement is there twice"
    assert all(m.probe == "reconstruction" and m.step == inputs.step for m in found)
    return keyed


def values(found: Found, precision: str, inputs: str = "test") -> dict[str, float]:
    return {key[0]: m.value for key, m in found.items() if key[1:] == (inputs, precision)}


class Known(Bijection):
    """``y = 2x``, whose inverse is ``y/2`` and off by what the test says."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 2 * x, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.off(y / 2), y.new_zeros(len(y))

    def off(self, x: Tensor) -> Tensor:
        return x + x.new_tensor(OFF)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(2, math.inf)


class Torn(Known):
    """Its inverse gives ``inf`` for an entry of 2, ``-inf`` for -2, NaN for 3; else it is right."""

    def off(self, x: Tensor) -> Tensor:
        for value, becomes in ((2, math.inf), (-2, -math.inf), (3, math.nan)):
            x = torch.where(x == value, becomes, x)
        return x


class Blind(Known):
    """Its inverse is zero, whatever it is given."""

    def off(self, x: Tensor) -> Tensor:
        return 0 * x


class Loses(Known):
    """Whose inverse is ``y/2`` but for one that is not 1 in float32, which float64 can tell."""

    def off(self, x: Tensor) -> Tensor:
        return x + (0.25 if x.dtype == torch.float32 else 0.0)


class Timid(Known):
    """Its inverse goes so much of the way from zero: a correction leaves the rest of an error."""

    def __init__(self, way: float) -> None:
        super().__init__()
        self.way = way

    def off(self, x: Tensor) -> Tensor:
        return self.way * x


class Patchy(Known):
    """Off by the first entry in float32 and half of it in float64.

    In float32 what is above 5 is lost, in float64 what is 5.
    """

    def off(self, x: Tensor) -> Tensor:
        single, first = x.dtype == torch.float32, x[:, :1]
        lost = first > 5 if single else first == 5
        off = first * (1.0 if single else 0.5) * x.new_tensor([0, 1])
        return x + torch.where(lost, torch.inf, off)


class Tired(Known):
    """Moves the first entry by 3, and gives up where that is between 5 and 9."""

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        x, log_det = self.inverse(y)
        ones = torch.ones(len(y), dtype=torch.int64)
        return x, log_det, Convergence(ones, y.new_zeros(len(y)), (x[:, 0] - 7).abs() > 2)


class Counted(Timid):
    """``y = x/3``, which is rounded; counts the rows that it is given, in all copies."""

    rows: ClassVar[list[int]] = []

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.rows.append(len(x))
        return x / 3, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.rows.append(len(y))
        return self.off(3 * y), y.new_zeros(len(y))


@pytest.mark.parametrize("precision", BOTH)
def test_every_norm_of_a_known_error_in_both_directions(precision: str) -> None:
    x = torch.tensor([[8.0, 0, 6, 0]] * 3)
    found = measured(Known(), x, round_trips=4)
    assert all(m.status is NumberStatus.FINITE for m in found.values())
    value = values(found, precision)
    expected = {
        "l2": 5.0, "rms": 2.5, "linf": 4.0, "relative": 0.5,
        "latent_l2": 10.0, "latent_rms": 5.0, "latent_linf": 8.0, "latent_relative": 0.5,
        "repeated_l2": 20.0, "backward_error": 10.0, "amplification": 0.5,
    }  # fmt: skip
    if precision == "float32":
        expected |= {"solver_error": 5.0, "conditioning_error": 0.0}
    for name, right in expected.items():
        for summary in ("median", "q90", "worst_finite"):
            assert value.pop(f"{name}_{summary}") == pytest.approx(right), name
    if precision == "float32":
        assert value.pop("rounding_ratio") == pytest.approx(1)
    assert value, "the fractions are left"
    assert all(name.endswith("_fraction") and one == 0 for name, one in value.items())


def test_quantiles_are_of_the_inputs_and_of_each_set() -> None:
    class Grows(Known):
        """The error is a tenth of the first entry."""

        def off(self, x: Tensor) -> Tensor:
            return x + 0.1 * x[:, :1] * x.new_tensor([0, 1])

    first = torch.arange(1.0, 12.0)
    x = torch.stack([first, torch.zeros(11)], 1)
    inputs = inputs_in_a_cube({"test": x, "far": 10 * x[:5]})
    found = measured(Grows(), inputs)
    near, far = values(found, "float64"), values(found, "float64", "far")
    assert [near[f"l2_{q}"] for q in ("median", "q90", "worst_finite")] == pytest.approx(
        [0.6, 1, 1.1]
    )
    assert [far[f"l2_{q}"] for q in ("median", "worst_finite")] == pytest.approx([3, 5])
    in_float32 = values(found, "float32", "far")
    assert in_float32["solver_error_median"] == pytest.approx(3, rel=1e-3)
    assert {m.count for key, m in found.items() if key[1] == "far"} == {5}


def test_each_kind_of_overflow_is_counted_once_a_sample_and_kept_out_of_quantiles() -> None:
    # Rows: right, +inf, -inf, NaN, +inf and -inf, all three, right, -inf.
    rows = [[0.0, 1], [2, 0], [-2, 0], [3, 0], [2, -2], [3, 2], [1, 1], [0, -2]]
    x = torch.tensor(rows)
    for precision in BOTH:
        found = measured(Torn(), x)
        value = values(found, precision)
        kinds = {"nan": 2, "plus_inf": 2, "minus_inf": 2, "non_finite": 6}
        for prefix in ("", "latent_"):
            for kind, count in kinds.items():
                assert value[f"{prefix}{kind}_fraction"] == pytest.approx(count / 8), kind
            assert value[f"{prefix}l2_worst_finite"] == 0
        assert value["repeated_non_finite_fraction"] == pytest.approx(6 / 8)
        assert value["backward_error_non_finite_fraction"] == pytest.approx(6 / 8)
        assert found["l2_median", "test", precision].count == 8


def test_nothing_finite_is_nan_and_says_so() -> None:
    found = measured(Torn(), torch.full((4, 2), 3.0))
    for metric in ("l2_median", "latent_l2_q90", "repeated_l2_median", "solver_error_median"):
        assert math.isnan(found[metric, "test", "float32"].value)
        assert found[metric, "test", "float32"].status is NumberStatus.NAN
    assert found["non_finite_fraction", "test", "float32"].value == 1
    assert found["rounding_ratio", "test", "float32"].status is NumberStatus.NAN


def test_an_input_of_zero_has_no_relative_error_and_others_keep_theirs() -> None:
    found = measured(Known(), torch.tensor([[0.0, 0, 0, 0], [8, 0, 6, 0]]))
    relative = found["relative_worst_finite", "test", "float64"]
    assert relative.value == pytest.approx(0.5)
    assert relative.count == 1
    assert found["l2_median", "test", "float64"].count == 2


@pytest.mark.parametrize(
    ("flow", "least", "most"),
    [
        pytest.param(known_chain(8, 1e3), 1e8, 3e9, id="rounding"),
        pytest.param(Known(), 1, 1, id="the map"),
        pytest.param(Loses(), math.inf, math.inf, id="exact in float64"),
    ],
)
def test_the_ratio_of_precisions_tells_rounding_from_structure(
    flow: Bijection, least: float, most: float
) -> None:
    dimension = 8 if isinstance(flow, Chain) else 4
    found = measured(flow, 1 + gaussian(100, (dimension,)), precisions=["float64", "float32"])
    assert least * (1 - 1e-6) <= found["rounding_ratio", "test", "float32"].value
    assert found["rounding_ratio", "test", "float32"].value <= most * (1 + 1e-6)
    assert ("rounding_ratio", "test", "float64") not in found
    alone = measured(flow, gaussian(3, (dimension,)), precisions=["float32"])
    assert ("rounding_ratio", "test", "float32") not in alone


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_the_split_and_the_amplification_of_a_linear_map_are_those_of_its_matrix(
    condition: float,
) -> None:
    """Against numpy: ``x* = A⁻¹ (z₃₂ - b)`` of the matrix that autograd finds."""
    flow = known_chain(8, condition)
    x = gaussian(20, (8,)).float()
    exact = known_chain(8, condition).double()
    a = torch.func.jacrev(lambda one: exact(one[None])[0][0])(x[0].double()).detach()
    with torch.no_grad():
        latent = flow(x)[0]
        back = flow.inverse(latent)[0].double().numpy()
        b = exact(torch.zeros(1, 8, dtype=torch.float64))[0].numpy()
    solved = np.linalg.solve(a.numpy(), (latent.double().numpy() - b).T).T
    given = x.double().numpy()
    error = np.linalg.norm(back - given, axis=1)
    value = values(measured(flow, x), "float32")
    of = {
        "conditioning_error": np.linalg.norm(solved - given, axis=1),
        "solver_error": np.linalg.norm(back - solved, axis=1),
        "backward_error": np.linalg.norm((back - given) @ a.numpy().T, axis=1),
        "amplification": error / np.linalg.norm((back - given) @ a.numpy().T, axis=1),
    }
    for name, right in of.items():
        assert value[f"{name}_median"] == pytest.approx(np.median(right), rel=1e-4), name
        assert value[f"{name}_worst_finite"] == pytest.approx(right.max(), rel=1e-4), name
    assert value["amplification_worst_finite"] <= condition * (1 + 1e-6)


def residual(iterations: int) -> Residual:
    """The same weights, whatever the number."""
    made = Residual(LipschitzNetwork(3, 8, 2, 0.9, generator(0, "n")), iterations)
    perturb(made, 0)
    return made


@pytest.mark.parametrize("iterations", [1, 2])
def test_a_residual_block_that_gives_up_has_its_error_from_the_solver(iterations: int) -> None:
    """Against the same weights inverted to the end in float64."""
    x = gaussian(12, (3,)).float()
    flow, whole = residual(iterations), residual(1000)
    found = measured(flow, x)
    value = values(found, "float32")
    with torch.no_grad():
        latent = whole.float()(x)[0]
        back = residual(iterations).float().inverse(latent)[0].double()
        solved, _, report = whole.double().inverse_with_convergence(latent.double())
    assert report.converged.all()
    solver = torch.linalg.vector_norm(back - solved, dim=1)
    conditioning = torch.linalg.vector_norm(solved - x.double(), dim=1)
    assert value["solver_error_worst_finite"] == pytest.approx(float(solver.max()), rel=1e-3)
    assert value["conditioning_error_worst_finite"] == pytest.approx(
        float(conditioning.max()), rel=0.1
    )
    assert value["solver_error_median"] > 100 * value["conditioning_error_median"]
    assert found["solver_error_median", "test", "float32"].status is NumberStatus.FINITE
    assert value["rounding_ratio"] == pytest.approx(1, rel=1e-2)
    assert value["not_converged_fraction"] == 1
    assert value["solver_iterations_worst"] == iterations
    assert value["solver_residual_worst"] > 0
    unfinished = {"l2_median", "latent_l2_median", "repeated_l2_median", "rounding_ratio"}
    assert {found[m, "test", "float32"].status for m in unfinished} == {NumberStatus.NOT_CONVERGED}
    assert found["non_finite_fraction", "test", "float64"].status is NumberStatus.FINITE


def test_a_residual_block_that_ends_has_no_more_from_its_solver_than_from_rounding() -> None:
    found = measured(Chain([residual(1000), ActNorm(3), residual(1000)]), gaussian(50, (3,)))
    value = values(found, "float32")
    assert value["solver_error_median"] < 1e-6
    assert value["not_converged_fraction"] == 0
    assert value["rounding_ratio"] > 1e7


def test_an_ode_of_few_steps_has_its_error_from_the_way_back() -> None:
    """Against ``R(A)``, what the method's step is, by numpy: forth R(A/n)ⁿ, back R(-A/n)ⁿ."""
    a = matrix(0.8)
    flow, steps = NeuralODE(linear_field(a).float(), "rk4", 2), 2
    x = gaussian(12, (3,)).float()
    found = measured(flow, x)
    value = values(found, "float32")
    forth = torch.linalg.matrix_power(of_one_step("rk4", a.float().double() / steps), steps)
    back = torch.linalg.matrix_power(of_one_step("rk4", -a.float().double() / steps), steps)
    given = x.double()
    missed = torch.linalg.vector_norm(given @ (back @ forth).T - given, dim=1)
    assert float(missed.median()) > 1e-4
    for metric in ("solver_error_worst_finite", "l2_worst_finite"):
        assert value[metric] == pytest.approx(float(missed.max()), rel=1e-2), metric
    with torch.no_grad():
        latent = flow.float()(x)[0].double()
    perfect = torch.linalg.solve(forth, latent.T).T
    conditioning = torch.linalg.vector_norm(perfect - given, dim=1)
    assert value["conditioning_error_worst_finite"] == pytest.approx(
        float(conditioning.max()), rel=1e-2
    )
    assert found["l2_median", "test", "float32"].status is NumberStatus.NOT_CONVERGED
    assert found["solver_error_median", "test", "float32"].status is NumberStatus.FINITE


def test_an_inverse_that_tells_nothing_apart_is_not_believed() -> None:
    norm = ActNorm(4)
    with torch.no_grad():
        norm.log_scale.copy_(torch.tensor([0.3, 0.1, 0.2, 0.7]))  # so that something is rounded
    found = measured(Chain([norm, Blind()]), gaussian(20, (4,)))
    for part in ("solver_error_median", "conditioning_error_median"):
        assert found[part, "test", "float32"].status is NumberStatus.NOT_CONVERGED


@pytest.mark.parametrize(
    ("way", "status"), [(0.7, NumberStatus.FINITE), (0.5, NumberStatus.NOT_CONVERGED)]
)
def test_a_part_is_known_where_corrections_leave_less_than_a_tenth(
    way: float, status: NumberStatus
) -> None:
    """Three of them leave ``(1 - way)³``: 2.7 % and 12.5 %."""
    norm = ActNorm(4)
    with torch.no_grad():
        norm.log_scale.copy_(torch.tensor([0.3, 0.1, 0.2, 0.7]))
    found = measured(Chain([norm, Timid(way)]), gaussian(20, (4,)))
    assert found["conditioning_error_median", "test", "float32"].status is status
    # It is much the larger part, and so known even then.
    solver = found["solver_error_median", "test", "float32"]
    assert solver.status is NumberStatus.FINITE
    total = found["l2_median", "test", "float32"].value
    assert solver.value == pytest.approx(total, rel=1e-4)
    exact = measured(norm, gaussian(20, (4,)))["conditioning_error_median", "test", "float32"]
    ratio = found["conditioning_error_median", "test", "float32"].value / exact.value
    assert ratio == pytest.approx(1 - (1 - way) ** 3, rel=1e-3)


def test_precisions_are_compared_on_the_inputs_that_both_brought_back() -> None:
    # The medians of all that each brought back are 2 and 2.
    x = torch.tensor([[5.0, 0], [6, 0], [7, 0], [1, 0], [2, 0]])
    found = measured(Patchy(), x)
    ratio = found["rounding_ratio", "test", "float32"]
    assert ratio.value == pytest.approx(2)
    assert ratio.count == 2
    assert ratio.status is NumberStatus.FINITE
    for precision in BOTH:
        assert found["l2_median", "test", precision].value == pytest.approx(2)
    # Of inputs that no precision but one brought back there is no ratio.
    alone = measured(Patchy(), x[:3])["rounding_ratio", "test", "float32"]
    assert (alone.status, alone.count) == (NumberStatus.NAN, 0)


def test_a_solver_that_ended_the_first_time_may_give_up_later() -> None:
    found = measured(Tired(), torch.zeros(3, 4), round_trips=2)
    assert found["l2_median", "test", "float32"].status is NumberStatus.FINITE
    assert found["repeated_l2_median", "test", "float32"].status is NumberStatus.NOT_CONVERGED
    # From 4 to 7, where it gives up, and on to 10, where it does not.
    lost = measured(Tired(), torch.tensor([[4.0, 0, 0, 0]]), round_trips=2, closer_points=1)
    assert lost["repeated_l2_median", "test", "float32"].status is NumberStatus.NOT_CONVERGED


def test_what_a_precision_cannot_do_is_unsupported_and_the_others_stay() -> None:
    flow, names = LULinear(2, generator(0, "lu")), ["float64", "float32", "tf32", "bfloat16"]
    inputs = inputs_in_a_cube({"test": gaussian(5, (2,)).float(), "far": torch.ones(3, 2)})
    found = measured(flow, inputs, precisions=names)
    for precision in ("tf32", "bfloat16"):
        for name, count in (("test", 5), ("far", 3)):
            assert [key[0] for key in found if key[1:] == (name, precision)] == ["l2_median"]
            said = found["l2_median", name, precision]
            assert (said.status, said.count) == (NumberStatus.UNSUPPORTED, count)
            assert math.isnan(said.value)
    assert found["rounding_ratio", "far", "float32"].count == 3
    assert (
        found.keys() - {k for k in found if k[2] in ("tf32", "bfloat16")}
        == measured(flow, inputs).keys()
    )


def test_in_half_precision_an_error_is_of_the_input_that_was_given() -> None:
    """An input's own rounding, 2^-9 of it, is no error of the network."""
    x = 1 + gaussian(20, (4,))
    value = values(measured(ActNorm(4), x, precisions=["bfloat16", "float16"]), "bfloat16")
    assert value["l2_worst_finite"] == value["backward_error_worst_finite"] == 0
    assert value["latent_l2_worst_finite"] == 0


@pytest.mark.parametrize("case", cases())
def test_no_architecture_raises_in_half_precision(case: str) -> None:
    flow, shape = network(case, dtype=torch.float32)
    half = [
        name for name in available(torch.device("cpu")) if "64" not in name and "32" not in name
    ]
    found = measured(flow, gaussian(2, shape, scale=3), precisions=half, round_trips=1)
    assert {m.precision for m in found.values()} == {"bfloat16", "float16"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"points": 7, "round_trips": 1},
        {"points": 50, "closer_points": 30, "precisions": ["float64", "float32", "bfloat16"]},
    ],
)
def test_the_cost_is_what_it_takes_at_most(parameters: dict[str, object]) -> None:
    """All of it where an inverse leaves half of an error, and less where nothing is to correct."""
    choice = registry.resolve("probe", {"name": "reconstruction", **parameters})
    x = gaussian(50, (4,)).float()
    cost = registry.get("probe", "reconstruction").cost
    assert cost is not None
    taken = []
    for way in (0.5, 1.0):
        Counted.rows.clear()
        measured(Counted(way), inputs_in_a_cube({"test": x, "far": x}), **parameters)
        taken.append(sum(Counted.rows))
    closer = min(int(str(parameters.get("closer_points", 50))), int(str(parameters["points"])))
    assert taken == [cost(choice.parameters, 4, 2), cost(choice.parameters, 4, 2) - 2 * 4 * closer]


def test_a_sample_is_corrected_as_if_it_were_alone() -> None:
    """One that has come to rest is left there while the others go on."""
    x, off = gaussian(6, (4,)), 1e-2 * gaussian(6, (4,), seed=1)
    # The second is at rest after two corrections, and a third would move it.
    way = torch.tensor([[1.0], [0.9995], [0.9], [1.0], [0.7], [0.2]], dtype=torch.float64)

    class Uneven(Known):
        """Each sample has a way of its own, which its last entry's sign keeps."""

        def off(self, x: Tensor) -> Tensor:
            return x * rows

    rows = way
    together = invert_well(Uneven(), x, 2 * x, 2 * (x + off))
    for number in range(6):
        rows = way[number : number + 1]
        part = slice(number, number + 1)
        alone = invert_well(Uneven(), x[part], 2 * x[part], 2 * (x + off)[part])
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[part], other, rtol=0, atol=0)


def test_what_is_left_in_a_direction_that_the_map_hardly_sees_is_not_overlooked() -> None:
    """The latents are right to 1 % and x* to 12 %, which the last correction tells."""
    scales = torch.tensor([1.0, 1e-3], dtype=torch.float64)

    class Weak(Known):
        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return scales * x, x.new_zeros(len(x))

        def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return y / scales * y.new_tensor([1, 0.5]), y.new_zeros(len(y))

    x = gaussian(5, (2,))
    off = 1e-6 * torch.tensor([1.0, 0.1], dtype=torch.float64)
    found, unknown = invert_well(Weak(), x, scales * x, scales * x + off)
    error = torch.linalg.vector_norm(found - x - off / scales, dim=1)
    assert (error > 0.1 * torch.linalg.vector_norm(found - x, dim=1)).all()
    assert (unknown > 0.9 * error).all()


def test_a_closer_look_is_at_the_first_inputs_of_each_set() -> None:
    """The first two are off by 3 and 4, all others by 5; a tenth of that in the second set."""

    class Marked(Known):
        def off(self, x: Tensor) -> Tensor:
            return x + torch.where(x == 1, 3, 0) + torch.where(x == 2, 4, 0) + 5 * (x > 2)

    x = torch.tensor([[1.0, 0], [2, 0], [8, 0], [9, 0], [9, 0]])
    far = torch.tensor([[9.0, 0], [9, 0], [1, 0]])
    found = measured(Marked(), inputs_in_a_cube({"test": x, "far": far}), closer_points=2)
    for name, least, worst in (("test", 3, 4), ("far", 5, 5)):
        value = values(found, "float32", name)
        assert value["l2_worst_finite"] == 5
        for metric, times in (
            ("latent_l2", 2), ("backward_error", 2), ("solver_error", 1),
        ):  # fmt: skip
            assert value[f"{metric}_worst_finite"] == pytest.approx(times * worst), metric
            assert value[f"{metric}_median"] == pytest.approx(times * (least + worst) / 2), metric
            assert found[f"{metric}_median", name, "float32"].count == 2
        assert value["conditioning_error_worst_finite"] == 0
        assert value["amplification_worst_finite"] == pytest.approx(0.5)
    assert found["repeated_l2_median", "test", "float64"].value == pytest.approx((8 + 9) / 2)
