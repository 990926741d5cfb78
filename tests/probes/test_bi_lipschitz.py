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
from harness.probes.jacobian import jacobian
from harness.probes.krylov import Extremes, Krylov
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


def linear(*scales: float) -> ActNorm:
    norm = ActNorm(len(scales)).double()
    with torch.no_grad():
        norm.log_scale.copy_(torch.tensor(scales, dtype=torch.float64).log())
    return norm


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


# At -800 the map underflows, and its inverse alone overflows.
@pytest.mark.parametrize(
    ("method", "lost"), [("exact", 800.0), ("lanczos", 800.0), ("lanczos", -800.0)]
)
def test_jacobians_that_are_not_finite_are_counted_and_touch_no_other(
    method: str, lost: float
) -> None:
    x = torch.tensor([[0.0, 1, 1, 1], [lost, 1, 1, 1], [1.0, 0, 0, 0]])
    found = measured(Overflowing(), x, method=method)
    assert found["non_finite_fraction"].value == pytest.approx(1 / 3)
    assert found["forward_worst"].value == pytest.approx(math.e, rel=1e-2)
    assert found["forward_worst"].count == 3


class Bent(Bijection):
    """``y = 3x`` but for the last entry, ``y = x|x|``, or its root: the inverse is the other.

    At 0 the root is finite, and its derivative is not: one entry of a Jacobian.
    """

    def __init__(self, *, root_forward: bool) -> None:
        super().__init__()
        self.root_forward = root_forward

    def bend(self, x: Tensor, root: bool, scale: float) -> tuple[Tensor, Tensor]:
        last = x[:, -1:]
        bent = last.sign() * last.abs().sqrt() if root else last * last.abs()
        return torch.cat([scale * x[:, :-1], bent], 1), x.new_zeros(len(x))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bend(x, self.root_forward, 3)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bend(y, not self.root_forward, 1 / 3)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


@pytest.mark.parametrize("root_forward", [True, False])
def test_one_entry_lost_in_one_direction_costs_one_input(root_forward: bool) -> None:
    flow = Bent(root_forward=root_forward)
    x = torch.tensor([[1.0, 2, 0.0625], [1, 2, 0], [1, 2, 4], [1, 2, 0.25]])
    slopes = 1 / (2 * x[:, 2].sqrt()) if root_forward else 2 * x[:, 2]
    kept = torch.tensor([True, False, True, True])
    found = Krylov(1e-9, 60)(flow, x.double(), gaussian(4, (3,)))
    assert found.finite.tolist() == kept.tolist()
    for one, right in (
        (found.largest, slopes.clamp_min(3)), (found.smallest, slopes.clamp_max(3)),
        (found.largest_error, 0 * slopes), (found.smallest_error, 0 * slopes),
        (found.disagreement, 0 * slopes),
    ):  # fmt: skip
        assert one[~kept].isnan().all()
        torch.testing.assert_close(one[kept], right[kept].double(), rtol=1e-7, atol=1e-7)
    said = measured(flow, x, method="lanczos")
    assert said["non_finite_fraction"].value == 1 / 4
    assert said["forward_worst"].value == pytest.approx(float(slopes[kept].max().clamp_min(3)))
    assert said["inverse_worst"].value == pytest.approx(1 / float(slopes[kept].min()))
    assert said["inverse_worst"].status is NumberStatus.FINITE
    # Written out, the Jacobian of the inverse is not looked at.
    written = measured(flow, x, method="exact")
    assert written["non_finite_fraction"].value == (1 / 4 if root_forward else 0)
    assert written["forward_worst"].value == pytest.approx(said["forward_worst"].value)
    if not root_forward:
        assert written["inverse_worst"].value == math.inf


def test_a_lost_input_holds_up_no_other_and_has_no_value() -> None:
    x = torch.tensor([[0.0, 0, 0, 0], [800, 1, 1, 1]], dtype=torch.float64)
    found = largest_singular_value(
        Jacobian(lambda x: Overflowing()(x)[0], x), gaussian(2, (4,)), 1e-9, 60
    )
    assert found.steps == 4, "of the identity the space ends at once, and it goes no further than D"
    assert found.value[1].isnan()
    # Jv is finite, and Jᵀu is not.
    steep = torch.tensor([[1.5e308, 1], [1.5e308, 1]], dtype=torch.float64)
    one_way = Jacobian(lambda x: x @ steep.mT, torch.zeros(1, 2, dtype=torch.float64))
    start = torch.tensor([[0.0, 1]], dtype=torch.float64)
    assert largest_singular_value(one_way, start, 1e-9, 1).value.isnan().all()


class Misjudged(Bijection):
    """``y = Ax``, whose inverse is wrong along singular vectors, by the factors given.

    With ``A = U diag(4, 2, 1, 1/2) Vᵀ``, it is ``V diag(factors / (4, 2, 1, 1/2)) Uᵀ``.
    """

    def __init__(self, factors: tuple[float, ...]) -> None:
        super().__init__()
        singular = torch.tensor([4.0, 2, 1, 0.5], dtype=torch.float64)
        u, v = (torch.linalg.qr(gaussian(4, (4,), seed)).Q for seed in (1, 2))
        self.register_buffer("there", u * singular @ v.mT)
        self.register_buffer("back", v * (singular.new_tensor(factors) / singular) @ u.mT)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x @ self.get_buffer("there").mT, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y @ self.get_buffer("back").mT, y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(4, math.inf)


@pytest.mark.parametrize(
    ("factors", "disagreement"),
    [
        ((1, 1, 1, 1), 0),
        ((1.5, 1, 1, 1), 0.5),
        ((1, 1, 1, 1.5), 0.5),
        ((1.5, 1, 1, 1.25), 0.5),
        ((1.25, 1, 1, 1.5), 0.5),
    ],
)
def test_an_inverse_that_is_wrong_in_one_extreme_direction_disagrees(
    factors: tuple[float, ...], disagreement: float
) -> None:
    found = measured(Misjudged(factors), gaussian(2, (4,)), method="lanczos", tolerance=1e-4)
    assert found["disagreement_worst"].value == pytest.approx(disagreement, abs=1e-5)
    status = NumberStatus.NOT_CONVERGED if disagreement else NumberStatus.FINITE
    for metric in ("forward_worst", "inverse_worst", "condition_number_median"):
        assert found[metric].status is status, metric
    assert found["unresolved_fraction"].value == (disagreement > 0)


@pytest.mark.parametrize("steps", [2, 3, 200])
def test_vectors_and_errors_belong_to_their_values(steps: int) -> None:
    """``A v = σ u``, and ``‖Aᵀu - σv‖`` is the error: of J, and of the inverse's Jacobian."""
    case = next(case for case in cases() if case.startswith("affine") and case.endswith("on 5"))
    flow, shape = network(case, 0, torch.float64)
    x = gaussian(3, shape)
    dense = jacobian(flow.eval(), x)
    found = Krylov(1e-9, steps).triples(flow, x, gaussian(3, shape, seed=1))
    ends: Extremes = found.extremes
    for matrix, value, error, right, left in (
        (dense, ends.largest, ends.largest_error, found.largest_right, found.largest_left),
        # Of the inverse the left vectors of J are the right ones.
        (dense.inverse(), 1 / ends.smallest, ends.smallest_error,
         found.smallest_left, found.smallest_right),
    ):  # fmt: skip
        values = value.unsqueeze(1)
        torch.testing.assert_close(torch.linalg.vector_norm(right, dim=1), torch.ones_like(value))
        image = (matrix @ right.unsqueeze(2)).squeeze(2)
        torch.testing.assert_close(image, values * left, rtol=0, atol=1e-8 * float(value.max()))
        off = (matrix.mT @ left.unsqueeze(2)).squeeze(2) - values * right
        residual = torch.linalg.vector_norm(off, dim=1) / value
        torch.testing.assert_close(error, residual, rtol=1e-4, atol=1e-9)
        largest = torch.linalg.matrix_norm(matrix, ord=2)
        if steps == 2:
            assert (error > 1e-3).any(), "it was cut short"
        if steps == 200:
            torch.testing.assert_close(value, largest, rtol=1e-9, atol=0)


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


@pytest.mark.parametrize(("dimension", "excess"), [(784, 1.05), (3072, 1.1)])
def test_one_singular_value_apart_from_all_others_is_not_missed(
    dimension: int, excess: float
) -> None:
    """Any start is then nearly an eigenvector, with a residual below the tolerance."""
    flow = linear(excess, *[1.0] * (dimension - 1))
    x, start = gaussian(1, (dimension,)).double(), gaussian(1, (dimension,), 1).double()
    found = Krylov(1e-2, 60)(flow, x, start)
    assert float(found.largest) == pytest.approx(excess, rel=1e-9)
    assert float(found.smallest) == pytest.approx(1.0, rel=1e-9)


def test_a_median_of_infinities_is_one() -> None:
    found = measured(Sunk(), gaussian(4, (3,)), method="exact")
    assert found["inverse_median"].value == math.inf
    assert found["inverse_worst"].value == math.inf


class Sunk(Bijection):
    """``y = (0, x₂, …)``: no bijection, and σ_min is 0."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.cat([0 * x[:, :1], x[:, 1:]], 1), x.new_full((len(x),), -math.inf)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y, y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, math.inf)
