"""The attack, on maps of which the worst input is known, and on trained flows."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.execution import train_cells
from harness.measuring.lockstep import in_lockstep
from harness.measuring.networks import Networks
from harness.probes.subject import Inputs, Probe, Subject
from harness.record import Measurement, NumberStatus
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.suite.model import Training
from tests.probing import LOSS, inputs_in_a_cube, probed

Found = dict[tuple[str, str], float]
WEIGHTS = (3.0, -2.0, 0.0, 1.0)


class Slanted(Bijection):
    """The identity, whose inverse is off by ``|wᵀx|`` along the first axis, NaN beyond a limit.

    So the worst points of a ball are known by the dual norm. It keeps what it was asked.
    """

    def __init__(self, weights: tuple[float, ...] = WEIGHTS, limit: float = math.inf) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor(weights))
        self.limit = limit
        self.asked: list[tuple[bool, Tensor]] = []

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.asked.append((torch.is_grad_enabled(), x.detach().clone()))
        return x, x.new_zeros(len(x))

    def error(self, y: Tensor) -> Tensor:
        return (y * self.weights).sum(1).abs()

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        error = self.error(y)
        error = torch.where(error > self.limit, torch.nan, error)
        axis = torch.eye(y.shape[1], dtype=y.dtype)[0]
        x = y + error.unsqueeze(1) * axis
        return x, y.new_zeros(len(y)), Convergence.closed_form(y)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


class Kinked(Slanted):
    """Its error's gradient is NaN everywhere."""

    def error(self, y: Tensor) -> Tensor:
        return super().error(y) + (0 * y).square().sum(1).sqrt()


class Unfinished(Slanted):
    """Its inverse gives up."""

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        x, log_det, report = super().inverse_with_convergence(y, context)
        return x, log_det, report._replace(converged=torch.zeros_like(report.converged))


# The training data of these tests lies within ±2, so half its range is 2.
INPUTS = inputs_in_a_cube(
    {"test": torch.tensor([[0.5, 0.0, 0.0, 0.0], [1.9, -0.5, 0.0, 0.5]]), "far": torch.eye(4)[1:2]},
    radius=2.0,
    step=7,
)


def measurements(
    flow: Bijection, inputs: Inputs = INPUTS, **settings: object
) -> dict[tuple[str, str], Measurement]:
    choice = registry.resolve("probe", {"name": "attack", **settings})
    found = probed(choice, flow, inputs, generator(0, "probe"))
    keyed = {(m.metric, m.inputs): m for m in found}
    assert len(keyed) == len(found)
    assert all((m.probe, m.step) == ("attack", inputs.step) for m in found)
    return keyed


def values(flow: Bijection, inputs: Inputs = INPUTS, **settings: object) -> Found:
    return {key: m.value for key, m in measurements(flow, inputs, **settings).items()}


def start(x: Tensor) -> float:
    return abs(float(x @ torch.tensor(WEIGHTS)))


FIRST, SECOND = (start(x) for x in INPUTS.sets["test"])


@pytest.mark.parametrize(
    ("norm", "further"),
    [
        ("linf", sum(abs(w) for w in WEIGHTS)),
        ("l2", 2 * math.sqrt(sum(w * w for w in WEIGHTS))),  # √D = 2
    ],
)
def test_ascent_ends_where_the_dual_norm_says(norm: str, further: float) -> None:
    # ε is 0.1 of half the range: 0.2.
    # Towards the one point of a sphere it comes ever nearer; a corner of the cube it reaches.
    found = values(Slanted(), norms=[norm], epsilon=0.1, clamp=False, steps=100)
    worst = SECOND + 0.2 * further
    assert found[f"{norm}_pgd_error_worst_finite", "test"] == pytest.approx(worst, rel=1e-5)
    assert found[f"{norm}_pgd_error_median", "test"] == pytest.approx(worst, rel=1e-5)
    assert found[f"{norm}_pgd_error_median", "far"] == pytest.approx(2 + 0.2 * further, rel=1e-5)
    assert SECOND - 0.2 * further < found[f"{norm}_random_error_median", "test"] < 0.99 * worst
    assert found[f"{norm}_pgd_failed_fraction", "test"] == 1
    assert found[f"{norm}_pgd_non_finite_fraction", "test"] == 0


def test_it_stays_within_the_range_of_the_data_and_of_its_input() -> None:
    # x = (1.9, …) may move by 0.1 alone along the first axis, and x = (5, …) only inwards.
    outside = torch.tensor([[5.0, 0.0, 0.0, 0.0]])
    inputs = inputs_in_a_cube({"test": INPUTS.sets["test"][1:], "out": outside}, radius=2.0)
    found = values(Slanted(), inputs, norms=["linf"], epsilon=0.1)
    worst = SECOND + 3 * 0.1 + (2 + 1) * 0.2
    assert found["linf_pgd_error_median", "test"] == pytest.approx(worst, rel=1e-5)
    assert found["linf_pgd_error_median", "out"] == pytest.approx(15 + 3 * 0.2, rel=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", [Slanted, Kinked])
def test_both_look_at_as_many_points_and_all_lie_in_the_ball(
    norm: str, kind: type[Slanted]
) -> None:
    flow = kind()
    measurements(
        flow, norms=[norm], steps=4, restarts=3, epsilon=0.1, clamp=False, precisions=["float32"]
    )
    centre = torch.cat(list(INPUTS.sets.values()))
    ascending, random = (
        torch.stack([x for graded, x in flow.asked if graded is kind_of]) - centre
        for kind_of in (True, False)
    )
    assert len(ascending) == len(random) == 3 * (4 + 1)

    def lengths(delta: Tensor) -> Tensor:
        if norm == "linf":
            return torch.amax(delta.abs(), -1)
        halved: Tensor = torch.linalg.vector_norm(delta, dim=-1) / 2
        return halved

    for points in (ascending, random):
        assert float(lengths(points).max()) <= 0.2 * (1 + 1e-5)
        of_all = points.flatten(0, 1)
        assert len(torch.unique(of_all, dim=0)) > 0.9 * len(of_all), "it stands still"
    # Uniform: of the ball the median length is 2^(-1/4) of its radius.
    assert float(lengths(random).median()) == pytest.approx(0.2 * 2 ** (-1 / 4), rel=0.08)


def test_its_cost_is_what_it_runs() -> None:
    flow = Slanted()
    settings = {"points": 2, "steps": 4, "restarts": 3, "norms": ["linf", "l2"]}
    inputs = inputs_in_a_cube({"test": torch.zeros(2, 4), "far": torch.ones(2, 4)})
    measurements(flow, inputs, **settings)
    entry = registry.get("probe", "attack")
    choice = registry.resolve("probe", {"name": "attack", **settings})
    assert entry.cost is not None
    # There and back; where a gradient is taken, each once more.
    run = sum(len(x) * (4 if graded else 2) for graded, x in flow.asked)
    assert entry.cost(choice.parameters, 4, 2) == run


def test_an_overflow_is_larger_than_any_number_and_in_no_average() -> None:
    found = measurements(
        Slanted(limit=SECOND), norms=["linf"], epsilon=0.1, clamp=False, failure=1e3
    )
    # Of two inputs one is lost, and the upper of the two in the middle is that one.
    value = {key[0]: m.value for key, m in found.items() if key[1] == "test"}
    assert value["linf_pgd_non_finite_fraction"] == 0.5
    assert value["linf_pgd_error_median"] == math.inf
    assert found["linf_pgd_error_median", "test"].status is NumberStatus.INF
    assert value["linf_pgd_error_worst_finite"] == pytest.approx(FIRST + 0.2 * 6, rel=1e-5)
    assert value["linf_pgd_failed_fraction"] == 0.5
    lost = values(Slanted(limit=-1.0), norms=["linf"])
    assert math.isnan(lost["linf_pgd_error_worst_finite", "test"])
    assert lost["linf_pgd_first_failure_step_median", "test"] == 0


@pytest.mark.parametrize(
    ("failure", "first"), [(1e-9, 0), (FIRST + 0.2 * 5.99, 5), (9.0, math.inf)]
)
def test_the_step_at_which_it_first_fails(failure: float, first: float) -> None:
    # With steps of 0.4 ε, all of a ball that is 2 ε wide lies behind 5 of them.
    inputs = inputs_in_a_cube({"test": INPUTS.sets["test"][:1]}, radius=2.0)
    found = values(
        Slanted(), inputs, norms=["linf"], epsilon=0.1, clamp=False, step_size=0.4, failure=failure
    )
    step = found["linf_pgd_first_failure_step_median", "test"]
    assert step == first if first in (0, math.inf) else 2 <= step <= first
    assert found["linf_pgd_failed_fraction", "test"] == (first < math.inf)


def test_more_starts_find_no_less() -> None:
    once, often = (values(Slanted(), steps=1, restarts=n, clamp=False) for n in (1, 8))
    for norm in ("linf", "l2"):
        for kind in ("pgd", "random"):
            metric = f"{norm}_{kind}_error_median", "test"
            assert once[metric] < often[metric]


def test_an_inverse_that_gave_up_says_so() -> None:
    found = measurements(Unfinished(), norms=["linf"])
    assert found["linf_pgd_error_median", "test"].status is NumberStatus.NOT_CONVERGED
    assert found["linf_pgd_non_finite_fraction", "test"].status is NumberStatus.FINITE


def test_a_precision_that_there_is_not_says_so() -> None:
    found = measurements(Slanted(), precisions=["tf32"])
    assert {m.status for m in found.values()} == {NumberStatus.UNSUPPORTED}
    assert {key[0] for key in found} == {"linf_pgd_error_median", "l2_pgd_error_median"}


def test_networks_of_a_pack_are_attacked_each_for_itself() -> None:
    flows = [Slanted((w, 0.0, 0.0, 1.0)) for w in (1.0, 10.0, 100.0)]
    choice = registry.resolve(
        "probe", {"name": "attack", "epsilon": 0.1, "clamp": False, "steps": 100}
    )
    probe: Probe = registry.build("probe", choice)
    inputs = inputs_in_a_cube({"test": torch.zeros(2, 4)}, radius=2.0)
    runs = [probe(Subject(inputs, LOSS), generator(0, "probe")) for _ in flows]
    networks = Networks(flows)
    for ended in in_lockstep(runs, networks.answer, networks.pays):
        found = {m.metric: m.value for m in ended.result.unwrap()}
        weight = 10.0**ended.number
        assert found["linf_pgd_error_median"] == pytest.approx(0.2 * (weight + 1), rel=1e-5)
        longest = 0.4 * math.hypot(weight, 1)
        assert found["l2_pgd_error_median"] == pytest.approx(longest, rel=1e-5)
    assert not flows[1].asked, "they answer as one"


def trained(architecture: object, seeds: int, steps: int) -> list[tuple[Bijection, Inputs]]:
    """Trained on digits, in as many seeds."""
    cells = [
        Cell(
            task=registry.resolve("task", "density"),
            architecture=registry.resolve("architecture", architecture),
            regularizer=registry.resolve("regularizer", "none"),
            dataset=registry.resolve("dataset", "digits"),
            probes=(),
            training=Training(steps=steps, batch_size=64, learning_rate=2e-3),
            seed=seed,
        )
        for seed in range(seeds)
    ]
    return [(one.flow, one.inputs) for one in train_cells(cells, torch.device("cpu"))]


@pytest.mark.parametrize(
    ("architecture", "seeds", "steps", "settings", "breaks"),
    [
        ("affine", 3, 300, {"clamp": False}, True),
        ({"name": "glow", "steps": 6}, 1, 200, {"steps": 40, "step_size": 0.5}, True),
        ("additive", 1, 300, {"clamp": False}, False),
        ({"name": "residual", "width": 16, "blocks": 2}, 1, 100, {"clamp": False}, False),
    ],
)
def test_an_adversary_finds_what_chance_does_not(
    architecture: object, seeds: int, steps: int, settings: dict[str, Any], breaks: bool
) -> None:
    for flow, inputs in trained(architecture, seeds, steps):
        in_distribution = Inputs(
            {"test": inputs.sets["test"]}, inputs.lowest, inputs.highest, inputs.step
        )
        found = values(flow, in_distribution, points=32, norms=["linf"], **settings)
        pgd = found["linf_pgd_error_median", "test"]
        random = found["linf_random_error_worst_finite", "test"]
        assert found["linf_random_non_finite_fraction", "test"] == 0
        assert random < 1e-2
        if breaks:
            assert pgd > 0.1
        else:
            assert found["linf_pgd_non_finite_fraction", "test"] == 0
            assert found["linf_pgd_error_worst_finite", "test"] < 1e-3
