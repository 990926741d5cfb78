"""The layer profile on networks whose weak layer is known."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import PlainLinear
from harness.bijections.linear.orthogonal import Householder
from harness.bijections.linear.permutation import Permutation
from harness.bijections.path import layers
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.residual import Residual
from harness.bijections.scale_maps.exponentials import Exponential
from harness.bijections.shape.multiscale import MultiScale
from harness.bijections.transformers.elementwise import Affine
from harness.probes.first_wrong import first_wrong, most_often
from harness.probes.walk import Walk
from harness.record import LayerMeasurement, Measurement, NumberStatus
from harness.seeding import generator
from tests.networks import gaussian, network, perturb
from tests.probing import inputs_in_a_cube, probed

PLANTED = 2
PLACES = [(8, "ActNorm"), (8, "Coupling"), (64, "ActNorm"), (64, "Coupling"), (784, "Coupling")]


@dataclass(frozen=True)
class Profile:
    """What was found, by metric, inputs and precision, and for layers by place."""

    found: list[Measurement]

    def of(self, metric: str, inputs: str = "test", precision: str = "float64") -> Measurement:
        (one,) = (
            m
            for m in self.found
            if not isinstance(m, LayerMeasurement)
            and (m.metric, m.inputs, m.precision) == (metric, inputs, precision)
        )
        return one

    def along(
        self, metric: str, inputs: str = "test", precision: str = "float64"
    ) -> dict[int, LayerMeasurement]:
        return {
            m.layer: m
            for m in self.found
            if isinstance(m, LayerMeasurement)
            and (m.metric, m.inputs, m.precision) == (metric, inputs, precision)
        }

    def values(
        self, metric: str, inputs: str = "test", precision: str = "float64"
    ) -> dict[int, float]:
        return {layer: m.value for layer, m in self.along(metric, inputs, precision).items()}


def profile(flow: Bijection, sets: dict[str, Tensor], **parameters: object) -> Profile:
    probe = registry.resolve("probe", {"name": "layer_profile", **parameters})
    inputs = inputs_in_a_cube({name: x.float() for name, x in sets.items()}, step=7)
    found = probed(probe, flow, inputs, generator(0, "probe"))
    assert all(m.probe == "layer_profile" and m.step == 7 for m in found)
    return Profile(found)


def diagonal(scales: Tensor) -> ActNorm:
    norm = ActNorm(len(scales))
    with torch.no_grad():
        norm.log_scale.copy_(scales.log())
    return norm


def constant_coupling(scales: Tensor) -> Coupling:
    """A coupling whose second half is multiplied by those scales, whatever the first half is."""
    half = len(scales)
    conditioner = mlp(half, 2 * half, 4, 1, generator(0, "c"))
    with torch.no_grad():
        for parameter in conditioner.parameters():
            parameter.zero_()
        list(conditioner.parameters())[-1][:half] = scales.log()
    return Coupling(half, Affine(Exponential()), conditioner)


def planted(dimension: int, scale: float, kind: str) -> Chain:
    """Rotations, and at place 2 the one layer that is no isometry."""
    source = generator(dimension, "planted")
    rotations: list[Bijection] = [Householder(dimension, source, 3) for _ in range(4)]
    if dimension > 256:  # SVDs of these take long
        rotations[0] = rotations[3] = Permutation.random(dimension, source)
    if kind == "ActNorm":
        scales = torch.ones(dimension)
        scales[dimension // 3] = scale
        weak: Bijection = diagonal(scales)
    else:
        scales = torch.ones(dimension // 2)
        scales[1] = scale
        weak = constant_coupling(scales)
    return Chain([*rotations[:PLANTED], weak, *rotations[PLANTED:]])


BLOCKS = {"ActNorm": "ActNorm", "Coupling": "Coupling: Affine, Exponential"}


@pytest.mark.parametrize(("dimension", "kind"), PLACES)
def test_a_planted_layer_is_named_by_place_block_and_scale(dimension: int, kind: str) -> None:
    found = profile(planted(dimension, 1e-6, kind), {"test": gaussian(5, (dimension,))}, points=2)
    exact = dimension <= 256
    inverse = found.along("inverse_worst")
    weakest = max(inverse.values(), key=lambda m: m.value)
    assert (weakest.layer, weakest.block) == (PLANTED, BLOCKS[kind])
    assert weakest.status is NumberStatus.FINITE
    # The scale's log is rounded to float32: 13.8 to within 5e-7.
    assert weakest.value == pytest.approx(1e6, rel=1e-6 if exact or kind == "ActNorm" else 1e-3)
    assert found.values("scale_smallest")[PLANTED] == pytest.approx(1e-6, rel=1e-6)
    for layer, value in found.values("forward_worst").items():
        assert value == pytest.approx(1, rel=1e-6), layer
    others = {layer: m.value for layer, m in inverse.items() if layer != PLANTED}
    assert list(others.values()) == pytest.approx([1] * 4, rel=1e-6)
    assert found.values("bound_inverse", "none")[0] == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(("dimension", "kind"), PLACES)
def test_it_is_the_first_wrong_one_where_the_precision_does_not_resolve_it(
    dimension: int, kind: str
) -> None:
    flow = planted(dimension, 1e-9, kind)
    found = profile(flow, {"test": gaussian(5, (dimension,))}, points=4, exact_up_to=0)
    assert found.of("first_wrong_layer", precision="float32").value == PLANTED
    assert found.of("wrong_fraction", precision="float32").value == 1
    assert found.of("first_wrong_layer", precision="float64").value == -1
    assert found.of("wrong_fraction", precision="float64").value == 0
    shares = found.values("first_wrong_fraction", precision="float32")
    assert shares == {layer: float(layer == PLANTED) for layer in range(5)}
    # Behind it nothing is lost, and before it what it lost is carried on by rotations.
    errors = found.values("accumulated_l2_worst_finite", precision="float32")
    assert max(errors[3], errors[4]) < 1e-4
    assert errors[2] == pytest.approx(errors[0], rel=1e-3)
    assert errors[2] > 1
    # By itself each layer is its own inverse: it is the errors given to it that it amplifies.
    own = found.values("round_trip_l2_worst_finite", precision="float32")
    assert max(own[layer] for layer in (0, 1, 3, 4)) < 1e-4
    inverse = found.values("inverse_worst")[PLANTED]
    assert inverse == pytest.approx(1e9, rel=1e-3)


class Crooked(Bijection):
    """``y = x`` whose inverse moves the first entry by half of it, to NaN where it is above 1."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * 1.0, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        moved = y.clone()
        moved[:, 0] += torch.where(y[:, 0] > 1, torch.nan, y[:, 0] / 2)
        return moved, y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


def test_an_inverse_that_is_none_is_wrong_by_itself_in_every_precision() -> None:
    ones = torch.ones(3)
    flow = Chain([diagonal(2 * ones), Crooked(), diagonal(ones / 2), diagonal(ones)])
    x = torch.tensor([[0.1, 0, 0], [0.2, 0.3, 0], [0.4, 0, 0], [2, 0, 0]])
    found = profile(flow, {"test": x})
    for precision in ("float32", "float64"):
        own = found.along("round_trip_l2_worst_finite", precision=precision)
        assert own[1].block == "Crooked"
        assert own[1].value == pytest.approx(0.4)
        assert max(own[layer].value for layer in (0, 2, 3)) < 1e-6
        lost = found.values("round_trip_non_finite_fraction", precision=precision)
        assert lost == {0: 0, 1: 1 / 4, 2: 0, 3: 0}
        lost = found.values("accumulated_non_finite_fraction", precision=precision)
        assert lost == {0: 1 / 4, 1: 1 / 4, 2: 0, 3: 0}
        off = found.values("accumulated_l2_median", precision=precision)
        assert (off[0], off[1]) == pytest.approx((0.1, 0.2))
        assert found.of("first_wrong_layer", precision=precision).value == 1
        assert found.of("wrong_fraction", precision=precision).value == 1


def test_the_layer_that_overflows_on_the_way_there_is_named() -> None:
    steep = [diagonal(torch.full((2,), scale)) for scale in (1.0, 1e30, 1e30, 1.0)]
    found = profile(Chain(steep), {"test": torch.ones(3, 2)})
    assert found.of("first_wrong_layer", precision="float32").value == 2
    assert found.of("first_wrong_layer", precision="float64").value == -1
    lost = found.values("output_non_finite_fraction", precision="float32")
    assert lost == {0: 0, 1: 0, 2: 1, 3: 1}
    # The last layer was given nothing finite: there is no round trip of its own to speak of.
    own = found.along("round_trip_l2_median", precision="float32")[3]
    assert (own.count, own.status) == (0, NumberStatus.NAN)
    accumulated = found.along("accumulated_l2_median", precision="float32")[3]
    assert (accumulated.count, accumulated.status) == (3, NumberStatus.NAN)


def test_a_solver_that_gave_up_is_told_of_its_layer_and_of_those_before() -> None:
    lazy = Residual(LipschitzNetwork(2, 8, 1, 0.9, generator(0, "n")), maximum_iterations=2)
    flow = Chain([diagonal(torch.ones(2)), lazy, diagonal(torch.ones(2))])
    found = profile(flow, {"test": gaussian(6, (2,))})
    own, all_the_way = NumberStatus.NOT_CONVERGED, NumberStatus.FINITE
    assert [m.status for m in found.along("round_trip_l2_median").values()] == [
        NumberStatus.FINITE,
        own,
        NumberStatus.FINITE,
    ]
    assert [m.status for m in found.along("accumulated_l2_median").values()] == [
        own,
        own,
        all_the_way,
    ]


def test_a_precision_that_a_layer_cannot_run_in_is_said_to_be_unsupported() -> None:
    flow = Chain([diagonal(torch.ones(4)), PlainLinear(4, generator(0, "w"))])
    found = profile(flow, {"test": gaussian(6, (4,))}, precisions=["bfloat16", "float32"])
    first = found.of("first_wrong_layer", precision="bfloat16")
    assert first.status is NumberStatus.UNSUPPORTED
    assert first.count == 6
    assert found.along("round_trip_l2_median", precision="bfloat16") == {}
    assert found.of("first_wrong_layer", precision="float32").value == -1


GLOW = {"name": "glow", "steps": 4, "width": 16}


def wild_glow(transformer: str) -> Bijection:
    """Its conditioners' weights times 1.7, in place of a long training."""
    choice = registry.resolve("architecture", {**GLOW, "transformer": transformer})
    flow: Bijection = registry.build("architecture", choice, (1, 8, 8), generator(0, "wild"))
    perturb(flow, 0)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "conditioner" in name and name.endswith("weight"):
                parameter.mul_(1.7)
    return flow.eval()


def test_an_affine_flow_breaks_off_distribution_at_a_coupling_and_an_additive_one_does_not() -> (
    None
):
    x = gaussian(16, (1, 8, 8), scale=0.25)
    sets = {"test": x, "times_10": 10 * x}
    found = profile(wild_glow("affine"), sets, points=4)
    for precision in ("float32", "float64"):
        assert found.of("first_wrong_layer", "test", precision).value == -1
        place = int(found.of("first_wrong_layer", "times_10", precision).value)
        blamed = found.along("scale_smallest", "times_10")[place]
        assert blamed.block == "Coupling: Affine, Sigmoid"
        assert blamed.value < 1e-6
        assert found.values("inverse_worst", "times_10")[place] > 1e6
    assert min(found.values("scale_smallest", "test").values()) > 0.1
    calm = profile(wild_glow("additive"), sets, points=4)
    for name in sets:
        assert calm.of("first_wrong_layer", name, "float32").value == -1
    assert min(calm.values("scale_smallest", "times_10").values()) > 0.1


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [
        ("glow(transformer=affine(scale=sigmoid), steps=2, width=8) on 1x8x8", 1e-3),
        ("residual(blocks=2, width=8) on 5", 1e-3),
        ("iaf(transformer=affine(scale=sigmoid), blocks=1, width=8) on 5", 1e-3),
    ],
)
@pytest.mark.parametrize("exact_up_to", [256, 0])
def test_the_constants_of_each_layer_are_those_of_its_jacobian_by_autograd(
    case: str, tolerance: float, exact_up_to: int
) -> None:
    flow, shape = network(case, dtype=torch.float32)
    x = gaussian(3, shape)
    found = profile(flow.eval(), {"test": x, "far": 2 * x}, exact_up_to=exact_up_to)
    relative = 1e-9 if exact_up_to else tolerance
    given = 2 * x.float().double()
    for layer in layers(flow.double()):

        def alone(x: Tensor, block: Bijection = layer.bijection) -> Tensor:
            y: Tensor = block(x.unsqueeze(0))[0]
            return y.flatten()

        jacobians: Tensor = torch.vmap(torch.func.jacrev(alone))(given).detach()
        values = torch.linalg.svdvals(jacobians.reshape(3, -1, given[0].numel()))
        forward = found.values("forward_worst", "far")[layer.place]
        inverse = found.values("inverse_worst", "far")[layer.place]
        assert forward == pytest.approx(float(values[:, 0].max()), rel=relative)
        assert inverse == pytest.approx(1 / float(values[:, -1].min()), rel=relative)
        bounds = layer.bijection.bounds()
        assert found.values("bound_forward", "none")[layer.place] == bounds.forward
        assert forward <= bounds.forward * (1 + 1e-9)
        given = layer.bijection(given)[0].detach()


def test_a_singular_value_that_float64_does_not_resolve_is_not_passed_off_as_known() -> None:
    flow = planted(8, 1e-18, "Coupling")
    weak = profile(flow, {"test": gaussian(3, (8,))}).along("inverse_worst")[PLANTED]
    assert weak.status is NumberStatus.NOT_CONVERGED


def test_a_learned_inverse_has_constants_of_its_own_which_are_not_passed_off_as_f_s() -> None:
    flow, shape = network("free_form(width=4) on 5", dtype=torch.float32)
    found = profile(flow, {"test": gaussian(3, shape)}, exact_up_to=0)
    assert found.along("inverse_worst")[1].status is NumberStatus.NOT_CONVERGED
    assert found.along("forward_worst")[1].status is NumberStatus.FINITE


def test_what_passes_beside_a_layer_has_the_singular_value_one() -> None:
    shrinks = diagonal(torch.full((2,), 0.5))
    flow = MultiScale([diagonal(torch.ones(4)), shrinks], [(4, 1, 1), (2, 1, 1)])
    found = profile(flow, {"test": gaussian(3, (4, 1, 1))})
    assert found.values("forward_worst") == pytest.approx({0: 1, 1: 1, 2: 1})
    assert found.values("inverse_worst") == pytest.approx({0: 1, 1: 1, 2: 2})
    assert found.values("scale_largest") == pytest.approx({0: 1, 2: 0.5})


def test_an_input_that_is_lost_hides_no_scale_of_the_others() -> None:
    steep = Coupling(1, Affine(Exponential()), mlp(1, 2, 4, 1, generator(0, "s")))
    perturb(steep, 0)
    x = torch.tensor([[0.5, 0.5], [3e38, 3e38]])
    there, back = ([diagonal(torch.full((2,), s)) for _ in range(8)] for s in (1e38, 1e-38))
    found = profile(Chain([*there, *back, steep]).double(), {"test": x})
    place = len(there) + len(back)
    with torch.no_grad():
        wanted = steep.scales(x[:1].double())
    assert found.values("jacobian_non_finite_fraction")[place] == 0.5
    assert found.values("scale_smallest")[place] == pytest.approx(float(wanted), rel=1e-3)  # type: ignore[arg-type]


def test_off_distribution_inputs_can_be_left_out() -> None:
    sets = {"far": torch.full((4, 2), 0.9), "test": torch.full((3, 2), 0.1)}
    assert {m.inputs for m in profile(Crooked(), sets).found} == {"none", "test", "far"}
    alone = profile(Crooked(), sets, off_distribution=False)
    assert {m.inputs for m in alone.found} == {"none", "test"}
    error = alone.along("round_trip_l2_median")[0]
    assert (error.value, error.count) == pytest.approx((0.05, 3))


def walk(accumulated: list[float], finite: list[bool]) -> Walk:
    """One input, whose activations all have the norm 2."""
    errors, flags = torch.tensor([accumulated]), torch.tensor([finite])
    return Walk(torch.full_like(errors, 2), flags, errors, flags, errors, flags)


@pytest.mark.parametrize(
    ("accumulated", "finite", "place"),
    [
        ([0, 0, 0], [True] * 3, -1),
        ([0.015, 0.015, 0.015], [True] * 3, -1),
        ([0.03, 0.01, 0.01], [True] * 3, 0),
        ([0.03, 0.03, 0.01], [True] * 3, 1),
        ([0, 0.03, 0], [True] * 3, 1),
        ([math.nan, 0, 0], [True] * 3, 0),
        ([math.inf, math.nan, 0], [True] * 3, 1),
        ([math.nan] * 3, [True, False, False], 1),
        ([math.nan] * 3, [False, False, False], 0),
    ],
)
def test_the_first_wrong_layer(accumulated: list[float], finite: list[bool], place: int) -> None:
    assert first_wrong(walk(accumulated, finite), 1e-2).tolist() == [place]


@pytest.mark.parametrize(
    ("places", "most"),
    [([], -1), ([-1, -1, -1], -1), ([-1, -1, 3], 3), ([0, 2, 2, 0, 1], 2), ([0, 0, 4], 0)],
)
def test_the_layer_that_is_first_wrong_most_often(places: list[int], most: int) -> None:
    assert most_often(torch.tensor(places, dtype=torch.int64)) == most
