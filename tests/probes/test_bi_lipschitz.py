"""Singular values of networks, written out and by Krylov spaces, against what is known."""

import math

import pytest
import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.actnorm import ActNorm
from harness.probes.krylov import Krylov
from harness.probes.lanczos import Jacobian, largest_singular_value
from harness.record import Measurement, NumberStatus
from harness.seeding import generator
from tests.networks import cases, gaussian, network
from tests.probes.known import CONDITIONS, DIMENSIONS, known_chain
from tests.probing import inputs_in_a_cube, probed


def measured(flow: Bijection, x: Tensor, **parameters: object) -> dict[str, Measurement]:
    choice = registry.resolve("probe", {"name": "bi_lipschitz", **parameters})
    found = probed(choice, flow, inputs_in_a_cube({"test": x.float()}), generator(0, "probe"))
    return {one.metric: one for one in found}


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize(("method", "tolerance"), [("exact", 1e-6), ("lanczos", 1e-2)])
def test_a_known_condition_number_is_found(
    dimension: int, condition: float, method: str, tolerance: float
) -> None:
    points = 1 if dimension > 500 else 2
    x = gaussian(points, (dimension,))
    found = measured(known_chain(dimension, condition), x, method=method)
    for metric, right in {
        "forward_worst": 1.0,
        "inverse_worst": condition,
        "condition_number_median": condition,
        "condition_number_worst": condition,
    }.items():
        assert found[metric].value == pytest.approx(right, rel=tolerance), metric
        assert found[metric].status is NumberStatus.FINITE, metric
    assert found["unresolved_fraction"].value == 0
    assert found["unresolved_in_float32_fraction"].value == (condition > 1e7)


@pytest.mark.parametrize("case", [case for case in cases() if not case.startswith("free_form")])
def test_both_ways_agree_on_every_architecture(case: str) -> None:
    flow, shape = network(case, 0, torch.float32)
    x = gaussian(3, shape)
    exact = measured(flow.eval(), x, method="exact")
    tight = measured(flow, x, method="lanczos", tolerance=1e-6, steps=200)
    for metric in ("forward_worst", "forward_median", "inverse_worst", "inverse_median"):
        assert tight[metric].value == pytest.approx(exact[metric].value, rel=1e-5), metric
    assert tight["forward_error_worst"].value <= 1e-6
    assert tight["disagreement_worst"].value <= 1e-6


def test_the_inverse_of_a_learned_inverse_disagrees() -> None:
    case = next(case for case in cases() if case.startswith("free_form"))
    flow, shape = network(case, 0, torch.float32)
    found = measured(flow.eval(), gaussian(3, shape), method="lanczos")
    assert found["disagreement_worst"].value > 1e-2
    assert found["forward_worst"].status is NumberStatus.NOT_CONVERGED
    assert found["unresolved_fraction"].value > 0


def test_an_iteration_that_is_cut_short_says_so_and_stays_within_its_error() -> None:
    flow = known_chain(64, 1.5)
    found = measured(flow, gaussian(2, (64,)), method="lanczos", tolerance=1e-9, steps=2)
    assert found["forward_worst"].status is NumberStatus.NOT_CONVERGED
    assert found["inverse_worst"].status is NumberStatus.NOT_CONVERGED
    assert found["unresolved_fraction"].value == 1
    singular = torch.logspace(0, -math.log10(1.5), 64, dtype=torch.float64)
    krylov = Krylov(1e-9, 2)(
        flow.double(), gaussian(4, (64,)).double(), gaussian(4, (64,)).double()
    )
    off = (krylov.largest.unsqueeze(1) - singular).abs().amin(1)
    assert (off <= krylov.largest_error * krylov.largest).all()
    assert (krylov.largest <= 1 + 1e-12).all()


class Overflowing(Bijection):
    """``y = x exp(x₀)`` elementwise but the first: not finite from x₀ = 710 on in float64."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scale = x[:, :1].exp()
        y = torch.cat([x[:, :1], x[:, 1:] * scale], 1)
        return y, (x.shape[1] - 1) * x[:, 0]

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.cat([y[:, :1], y[:, 1:] * (-y[:, :1]).exp()], 1)
        return x, -(y.shape[1] - 1) * y[:, 0]

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_jacobians_that_are_not_finite_are_counted_and_touch_no_other(method: str) -> None:
    x = torch.tensor([[0.0, 1, 1, 1], [800.0, 1, 1, 1], [1.0, 0, 0, 0]])
    found = measured(Overflowing(), x, method=method)
    assert found["non_finite_fraction"].value == pytest.approx(1 / 3)
    assert found["forward_worst"].value == pytest.approx(math.e, rel=1e-2)
    assert found["forward_worst"].count == 3


def test_against_another_library() -> None:
    case = next(case for case in cases() if case.startswith("glow"))
    flow, shape = network(case, 0, torch.float64)
    flow, x = flow.eval(), gaussian(1, shape).double()
    jacobian = Jacobian(lambda x: flow(x)[0], x)
    size = x[0].numel()
    operator = LinearOperator(
        (size, size),
        matvec=lambda v: jacobian.times(torch.as_tensor(v.reshape(1, -1))).numpy().ravel(),
        rmatvec=lambda u: (
            jacobian.transposed_times(torch.as_tensor(u.reshape(1, -1))).numpy().ravel()
        ),
        dtype="float64",
    )
    right = float(svds(operator, k=1, return_singular_vectors=False, random_state=0)[0])
    ours = largest_singular_value(jacobian, gaussian(1, (size,)).double(), 1e-8, 100)
    assert float(ours.value) == pytest.approx(right, rel=1e-7)
    dense = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
        lambda x: flow(x)[0].flatten(), x
    )
    largest = torch.linalg.matrix_norm(dense.reshape(size, size), ord=2)
    assert float(ours.value) == pytest.approx(float(largest), rel=1e-7)


def linear(*scales: float) -> ActNorm:
    norm = ActNorm(len(scales)).double()
    with torch.no_grad():
        norm.log_scale.copy_(torch.tensor(scales, dtype=torch.float64).log())
    return norm


def test_the_vector_is_that_of_the_value() -> None:
    flow, direction = linear(0.5, 4.0, 2.0, 1.0, 3.0), torch.eye(5, dtype=torch.float64)
    x, start = gaussian(2, (5,)).double(), gaussian(2, (5,)).double()
    found = Krylov(1e-12, 5).triples(flow, x, start)
    for vectors, axis in (
        (found.largest_left, 1),
        (found.largest_right, 1),
        (found.smallest_left, 0),
        (found.smallest_right, 0),
    ):
        assert (vectors @ direction[axis]).abs() == pytest.approx(torch.ones(2), abs=1e-6)


class Apart(Bijection):
    """``y = a x``, and an inverse that multiplies by numbers of its own, and overflows beyond."""

    def __init__(self, forward: tuple[float, ...], back: tuple[float, ...]) -> None:
        super().__init__()
        self.there = torch.nn.Parameter(torch.tensor(forward))
        self.back = torch.nn.Parameter(torch.tensor(back))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.there, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y * self.back * (1e4 * (y[:, :1] - 50).clamp_min(0)).exp(), y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


@pytest.mark.parametrize(
    "back", [(0.25 * 1.5, 0.5, 1.0, 2.0), (0.25, 0.5, 1.0, 3.0)], ids=["largest", "smallest"]
)
def test_an_inverse_that_is_wrong_in_one_extreme_direction_disagrees(
    back: tuple[float, ...],
) -> None:
    found = measured(Apart((4.0, 2.0, 1.0, 0.5), back), gaussian(2, (4,)), method="lanczos")
    assert found["disagreement_worst"].value == pytest.approx(0.5, rel=1e-3)
    assert found["inverse_worst"].status is NumberStatus.NOT_CONVERGED
    assert found["forward_worst"].status is NumberStatus.NOT_CONVERGED


def test_an_inverse_that_overflows_alone_is_counted_and_touches_no_other() -> None:
    flow = Apart((4.0, 2.0, 1.0, 0.5), (0.25, 0.5, 1.0, 2.0))
    x = torch.tensor([[1.0, 1, 1, 1], [20.0, 1, 1, 1]])
    found = measured(flow, x, method="lanczos")
    assert found["non_finite_fraction"].value == 0.5
    assert found["inverse_worst"].value == pytest.approx(2, rel=1e-2)
    assert found["condition_number_worst"].value == pytest.approx(8, rel=1e-2)
    assert found["forward_worst"].status is NumberStatus.FINITE


class Rooted(Bijection):
    """``y₁ = sign(x₁) √|x₁|``, the others as they are: one entry of J is not finite at 0."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        root = x[:, :1].sign() * x[:, :1].abs().sqrt()
        return torch.cat([root, x[:, 1:]], 1), -(2 * root.abs().squeeze(1)).log()

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        square = y[:, :1] * y[:, :1].abs()
        return torch.cat([square, y[:, 1:]], 1), (2 * y[:, 0].abs()).log()

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_a_jacobian_of_which_one_entry_is_not_finite_is_in_no_number(method: str) -> None:
    x = torch.tensor([[1 / 16, 1.0, 2.0], [0.0, 1.0, 2.0], [4.0, 1.0, 1.0]])
    found = measured(Rooted(), x, method=method)
    assert found["non_finite_fraction"].value == pytest.approx(1 / 3)
    assert found["forward_worst"].value == pytest.approx(2, rel=1e-2)
    assert found["inverse_worst"].value == pytest.approx(4, rel=1e-2)
