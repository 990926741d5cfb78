"""Masked networks, masked autoregressive blocks either way, and causal transformers on patches."""

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.architectures.autoregressive_flow import autoregressive_flow
from harness.bijections.autoregressive import triangular
from harness.bijections.autoregressive.autoregressive_bounds import entries
from harness.bijections.autoregressive.causal_transformer import CausalLayer, CausalTransformer
from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.autoregressive.patch_autoregressive import PatchAutoregressive
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.inverse import Inverse
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.shape.patches import Patches
from harness.bijections.transformers.bisection import EXTRA_STEPS
from harness.bijections.transformers.elementwise import Additive, Affine, Transformer
from harness.bijections.transformers.volume_preserving import VolumePreserving
from harness.conformance.registered import candidate
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb

ORDER = torch.tensor([3, 0, 4, 1, 2])


def _transformer(name: str, **parameters: object) -> Transformer:
    choice = registry.resolve("transformer", {"name": name, **parameters})
    return registry.build("transformer", choice)  # type: ignore[no-any-return]


class Stranger(Additive):
    """Known by its coupling's bounds alone."""


def masked(
    transformer: Transformer, *, position: Tensor | None = ORDER, context: int = 0
) -> MaskedAutoregressive:
    count, source = transformer.parameters_per_element, generator(0, "masked")
    network = MaskedNetwork(5, count, 12, 2, source, position=position, context=context)
    return MaskedAutoregressive(network, transformer)


def patchwise(*, reverse: bool) -> PatchAutoregressive:
    source = generator(0, "patches")
    network = CausalTransformer(4, 3, 6, width=8, heads=2, layers=2, generator=source)
    return PatchAutoregressive(network, _transformer("affine", scale="exp"), reverse=reverse)


class Given(Bijection):
    """A block with a context held fixed."""

    def __init__(self, block: Bijection, context: Tensor) -> None:
        super().__init__()
        self.block, self.context = block, context

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.block(x, self.context.to(x.dtype).expand(len(x), -1))  # type: ignore[no-any-return]

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.block.inverse(y, self.context.to(y.dtype).expand(len(y), -1))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return self.block.bounds(box)


CONTEXT = torch.tensor([[0.7, -1.2]])
SCALES = ("exp", "sigmoid", "bounded_exp", "softplus")
BLOCKS: dict[str, tuple[Callable[[], Bijection], tuple[int, ...]]] = {
    **{
        f"affine {scale} {order}": (
            functools.partial(
                lambda scale, order: masked(_transformer("affine", scale=scale, order=order)),
                scale,
                order,
            ),
            (5,),
        )
        for scale in SCALES
        for order in ("scale_first", "shift_first")
    },
    "additive": (lambda: masked(Additive()), (5,)),
    "additive, in the order given": (lambda: masked(Additive(), position=None), (5,)),
    "by coupling": (lambda: masked(Stranger()), (5,)),
    "inverse additive": (lambda: Inverse(masked(Additive())), (5,)),
    "inverse affine": (lambda: Inverse(masked(_transformer("affine"))), (5,)),
    "additive, context": (lambda: Given(masked(Additive(), context=2), CONTEXT), (5,)),
    "affine, context": (
        lambda: Given(masked(_transformer("affine"), context=2), CONTEXT),
        (5,),
    ),
    "patches": (lambda: patchwise(reverse=False), (3, 4)),
    "patches, reverse": (lambda: patchwise(reverse=True), (3, 4)),
    "cut": (lambda: Patches((2, 4, 6), 2), (2, 4, 6)),
}
block = pytest.mark.parametrize("name", BLOCKS)


def _block(name: str) -> tuple[Bijection, Tensor]:
    make, shape = BLOCKS[name]
    bijection = make().double()
    perturb(bijection, 1, 0.3)
    return bijection, gaussian(6, shape)


@block
def test_contract(name: str) -> None:
    bijection, x = _block(name)
    conformance.check_round_trip(bijection, x, tolerance=1e-10)
    conformance.check_log_det(bijection, x[:3])
    conformance.check_inverse_jacobian(bijection, x[:3])
    conformance.check_batch_mates(bijection, x)
    conformance.check_no_hidden_state(bijection, x)
    if list(bijection.parameters()):
        conformance.check_gradients(bijection, x)
    conformance.check_round_trip(bijection.float(), x.float(), tolerance=1e-4)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("position", [torch.arange(5), ORDER])
def test_a_masked_network_sees_all_that_comes_before_and_nothing_else(
    position: Tensor, context: int
) -> None:
    network = MaskedNetwork(
        5, 3, 16, 2, generator(0, "mask"), position=position, context=context
    ).double()
    perturb(network, 0, 0.5)
    given = gaussian(1, (context,)) if context else None
    jacobian = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
        lambda x: network(x.unsqueeze(0), given).squeeze(0), gaussian(1, (5,))[0]
    )
    sees = (jacobian != 0).unflatten(0, (3, 5))
    assert (sees == (position.unsqueeze(1) > position)).all()
    assert (jacobian.abs() <= network.sensitivity()).all()
    if given is not None:
        by_context = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda c: network(gaussian(1, (5,)), c), given
        )
        assert (by_context != 0).all()  # the first element too


@pytest.mark.parametrize("reverse", [False, True])
def test_a_patch_depends_on_itself_and_on_those_before(reverse: bool) -> None:
    flow = patchwise(reverse=reverse).double()
    perturb(flow, 0, 0.5)
    jacobian = conformance.autograd_jacobians(flow, gaussian(1, (3, 4)))[0]
    sees = (jacobian.reshape(3, 4, 3, 4) != 0).any(0).any(1)
    place = torch.arange(4)
    expected = place.unsqueeze(1) <= place if reverse else place.unsqueeze(1) >= place
    assert torch.equal(sees, expected)


def test_patches_are_cut_out_of_the_image() -> None:
    image = torch.arange(48.0).reshape(1, 2, 4, 6)
    cut, _ = Patches((2, 4, 6), 2)(image)
    assert torch.equal(cut[0, :, 4], image[0, :, 2:4, 2:4].flatten())


def _sensitivities(bijection: Bijection, x: Tensor) -> tuple[Tensor, Tensor]:
    """``σ_max(J)`` and ``1 / σ_min(J)`` by autograd, differentiable."""
    jacobian = torch.vmap(torch.func.jacrev(lambda v: bijection(v.unsqueeze(0))[0].squeeze(0)))(x)
    values = torch.linalg.svdvals(jacobian)
    return values[:, 0], values[:, -1].reciprocal()


def _worst(bijection: Bijection, box: Box, *, steps: int = 30) -> tuple[float, float]:
    """The largest of each that gradient ascent finds within a box."""
    found = []
    for which in (0, 1):
        share = torch.rand(12, *box.lower.shape, generator=generator(0, "start")).double()
        share[:6].round_()
        best = 0.0
        for _ in range(steps):
            share.requires_grad_()
            x = box.lower + share * (box.upper - box.lower)
            values = _sensitivities(bijection, x)[which]
            best = max(best, float(values.detach().max()))
            (slope,) = torch.autograd.grad(values.log().sum(), share)
            share = (share + 0.1 * slope.sign()).clamp(0, 1).detach()
        found.append(best)
    return found[0], found[1]


BOUNDED = [name for name in BLOCKS if not name.startswith("patches") and name != "cut"]
PATCHES = ["patches", "patches, reverse"]


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0])
def test_bounds_on_a_box_hold_where_gradient_ascent_looks(name: str, factor: float) -> None:
    bijection, x = _block(name)
    with torch.no_grad():
        for parameter in bijection.parameters():
            parameter.mul_(factor)
    box = Box.of(x[:2])
    bounds = bijection.bounds(box)
    measured = _worst(bijection, box)
    for found, bound in zip(measured, bounds, strict=True):
        assert found <= bound * (1 + 1e-9)
    context_free = "context" not in name or "additive" in name
    if factor == 1 and context_free:
        assert max(bounds) < math.inf


@pytest.mark.parametrize(
    "name", ["additive", "by coupling", "inverse additive", "additive, context"]
)
@pytest.mark.parametrize("factor", [0.0, 1.0, 4.0])
def test_additive_shifts_are_bounded_everywhere(name: str, factor: float) -> None:
    bijection, _ = _block(name)
    with torch.no_grad():
        for parameter in bijection.parameters():
            parameter.mul_(factor)
    everywhere = Box(*(end * torch.ones(5).double() for end in (-20, 20)))
    for found, bound in zip(_worst(bijection, everywhere), bijection.bounds(), strict=True):
        assert found <= bound * (1 + 1e-9) < math.inf
    if factor == 0:
        assert bijection.bounds() == pytest.approx((1, 1))


@pytest.mark.parametrize("name", [*PATCHES, *[name for name in BOUNDED if "affine" in name]])
def test_affine_has_no_bound_everywhere(name: str) -> None:
    bijection, _ = _block(name)
    assert bijection.bounds() == (math.inf, math.inf)


def test_entries_and_shifts_bound_a_known_matrix() -> None:
    """Without SiLU's bend: h₂ = a x₁ of a network whose middle is steepest is known to 1e-9."""
    network = MaskedNetwork(2, 1, 1, 1, generator(0, "known")).double()
    first, last = network.layers
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0]]))  # type: ignore[operator]
        first.bias.fill_(2.3993572805)  # type: ignore[operator]
        last.weight.copy_(torch.tensor([[0.0], [3.0]]))  # type: ignore[operator]
    flow = MaskedAutoregressive(network, Additive())
    slope = 3 * 1.09983932013
    assert network.lipschitz() == pytest.approx(slope, rel=1e-9)
    norm = (slope + math.hypot(slope, 2)) / 2  # of [[1, 0], [slope, 1]]
    assert flow.bounds() == pytest.approx((norm, norm), rel=1e-9)
    conformance.check_bounds(flow, torch.zeros(1, 2).double(), tight=True)


@pytest.mark.parametrize("order", ["scale_first", "shift_first"])
@pytest.mark.parametrize("which", ["scale", "shift"])
def test_entries_of_an_affine_block_hold_by_scale_alone_and_by_shift_alone(
    order: str, which: str
) -> None:
    """A network that is nearly linear near one point: there its sensitivity is nearly reached."""
    network = MaskedNetwork(2, 2, 1, 1, generator(0, "known")).double()
    first, last = network.layers
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0]]))  # type: ignore[operator]
        first.bias.fill_(2.3993572805)  # type: ignore[operator]
        last.weight[1 if which == "scale" else 3, 0] = 1.0  # type: ignore[operator]
    transformer = _transformer("affine", scale="exp", order=order)
    x = torch.tensor([[0.0, 2.0]]).double()
    box = Box.of(x)
    found = entries(transformer, box, network.image(box), network.sensitivity())
    assert found is not None
    jacobian = conformance.autograd_jacobians(MaskedAutoregressive(network, transformer), x)[0]
    cross, slope = float(jacobian[1, 0]), float(jacobian[1, 1])
    assert float(found.below[1, 0]) == pytest.approx(cross, rel=1e-9)
    assert float(found.relative[1, 0]) == pytest.approx(cross / slope, rel=1e-9)
    assert [float(end[1]) for end in found.diagonal] == pytest.approx([slope, slope])


def test_bounds_by_entries_are_reached_by_the_worst_signs() -> None:
    below = torch.rand(4, 4, generator=generator(0, "below")).double().tril(-1)
    diagonal = torch.tensor([0.5, 2.0, 1.0, 3.0]).double()
    relative = below / diagonal.unsqueeze(1)
    bounds = triangular.by_entries(Box(diagonal, diagonal), below, relative)
    norm = torch.linalg.matrix_norm
    assert bounds.forward == pytest.approx(float(norm(torch.diag(diagonal) + below, 2)))
    inverse = torch.linalg.inv(torch.diag(diagonal) - below)
    assert bounds.inverse == pytest.approx(float(norm(inverse, 2)))


@pytest.mark.parametrize("name", [n for n in BOUNDED if "context" not in n])
def test_the_image_of_a_box_holds_the_images_of_its_points(name: str) -> None:
    bijection, x = _block(name)
    box = Box.of(x[:2])
    image = bijection.image(box)
    if name == "by coupling":
        assert image is not None
    share = torch.rand(2000, 5, generator=generator(0, "points")).double()
    share[:1000].round_()
    y = bijection(box.lower + share * (box.upper - box.lower))[0].detach()
    assert image is not None
    assert (y >= image.lower - 1e-9).all()
    assert (y <= image.upper + 1e-9).all()


def test_a_conditional_flow_is_conditional_in_every_element() -> None:
    flow = autoregressive_flow(
        (3,),
        generator(0, "context"),
        _transformer("affine"),
        blocks=2,
        width=8,
        layers=1,
        order="random",
        mixing={"name": "none"},
        actnorm=True,
        context=2,
    ).double()
    perturb(flow, 0, 0.3)
    x, context = gaussian(4, (3,)), gaussian(4, (2,), seed=1)
    y, log_det = flow(x, context)
    back, inverse_log_det = flow.inverse(y, context)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(inverse_log_det, -log_det)
    assert (y != flow(x, context + 1)[0]).all()
    with pytest.raises(
        ValueError, match=r"masked network: 'context' must be \(batch, 2\), and none"
    ):
        flow(x)


def test_an_overflow_stays_in_its_sample_and_does_not_reach_what_comes_before() -> None:
    flow = masked(_transformer("affine", scale="exp"), position=None).double()
    perturb(flow, 1, 0.3)
    y = gaussian(2, (5,))
    expected = flow.inverse(y)[0]
    y[0, 2] = torch.inf
    x = flow.inverse(y)[0]
    assert torch.equal(x[0, :2], expected[0, :2])
    assert not x[0, 2:].isfinite().any()
    torch.testing.assert_close(x[1], expected[1])


def test_bad_arguments_are_told() -> None:
    source = generator(0, "bad")
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        MaskedNetwork(1, 1, 4, 1, source)
    with pytest.raises(ValueError, match="permutation of 0 to 1"):
        MaskedNetwork(2, 1, 4, 1, source, position=torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="takes 2 parameters an element, and its network gives 1"):
        MaskedAutoregressive(MaskedNetwork(2, 1, 4, 1, source), _transformer("affine"))
    volume_preserving = VolumePreserving(_affine().scale)
    with pytest.raises(ValueError, match="each element by itself"):
        MaskedAutoregressive(MaskedNetwork(2, 2, 4, 1, source), volume_preserving)
    with pytest.raises(ValueError, match="width 6 must be a multiple of its heads 4"):
        CausalLayer(6, 4, source)
    with pytest.raises(ValueError, match="do not tile"):
        Patches((1, 4, 6), 4)


def _affine() -> Affine:
    found = _transformer("affine")
    assert isinstance(found, Affine)
    return found


def test_the_inverse_direction_leaves_initialisation_alone() -> None:
    backwards = Inverse(ActNorm(3)).double()
    x = 5 + gaussian(8, (3,))
    assert torch.equal(backwards.initialize(x), x)


def test_the_inverse_directions_bounds_are_exchanged_and_of_the_preimage() -> None:
    scaling = ActNorm(2)
    with torch.no_grad():
        scaling.log_scale.copy_(torch.tensor([3.0, 0.5]).log())
    assert Inverse(scaling).bounds() == pytest.approx((2, 3))
    # F shrinks to a twentieth, so what it maps into the box lies 20 times as far out, and there its
    # Jacobian, which grows with x, is larger.
    flow = masked(_transformer("affine", scale="exp"), position=None).double()
    perturb(flow, 1, 0.3)
    with torch.no_grad():
        flow.network.layers[-1].bias[:5] = -3.0  # type: ignore[operator]
        flow.network.layers[0].weight.mul_(0.05)  # type: ignore[operator]
    box = Box(*(end * torch.ones(5).double() for end in (-1, 1)))
    corner = flow.inverse(box.upper.unsqueeze(0))[0]
    preimage = flow.preimage(box)
    assert preimage is not None
    assert (corner.abs() <= preimage.largest).all()
    backwards = Inverse(flow)
    assert float(preimage.largest.max()) > 10
    assert backwards.bounds(box).inverse > 2 * flow.bounds(box).forward
    for found, bound in zip(_worst(backwards, box), backwards.bounds(box), strict=True):
        assert found <= bound * (1 + 1e-9)


MIXTURE = {"name": "mixture_of_logistics", "components": 3}


def _iterating(name: str) -> tuple[Bijection, tuple[int, ...]]:
    one = _transformer(**MIXTURE)  # type: ignore[arg-type]
    if name == "masked":
        return masked(one), (5,)
    count, source = 3 * one.parameters_per_element, generator(0, "patches")
    network = CausalTransformer(4, 3, count, width=8, heads=2, layers=1, generator=source)
    return PatchAutoregressive(network, one), (3, 4)


@pytest.mark.parametrize(("name", "passes"), [("masked", 5), ("patches", 4)])
def test_an_inverse_that_iterates_reports_over_all_its_passes(name: str, passes: int) -> None:
    flow, shape = _iterating(name)
    flow = flow.double()
    perturb(flow, 1, 0.2)
    x = gaussian(3, shape)
    y = flow(x)[0].detach()
    back, log_det, report = flow.inverse_with_convergence(y)
    torch.testing.assert_close(back, x)
    assert report.converged.all()
    assert report.iterations.tolist() == [passes * (52 + EXTRA_STEPS)] * 3
    assert (report.residual > 0).all()
    again, same = flow.inverse(y)
    assert torch.equal(back, again)
    assert torch.equal(log_det, same)
    # Of one sample the last pass alone is lost: the others are as they were.
    y[1, ..., -1] = math.nan
    lost, _, report = flow.inverse_with_convergence(y)
    assert report.converged.tolist() == [True, False, True]
    assert torch.equal(lost[0], back[0])


def test_a_closed_form_reports_no_iterations() -> None:
    bijection, x = _block("affine exp scale_first")
    _, _, report = bijection.inverse_with_convergence(x)
    assert report.iterations.tolist() == [0] * len(x)
    assert report.converged.all()


def test_an_inverse_flow_refuses_a_transformer_whose_inverse_iterates() -> None:
    choice = registry.resolve("architecture", {"name": "iaf", "transformer": MIXTURE})
    with pytest.raises(ValueError, match="iaf needs a transformer with a closed-form inverse"):
        candidate(choice)
