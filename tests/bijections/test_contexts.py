"""Blocks with a context meet the contract under each context, and their bounds hold for all."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.architectures.autoregressive_flow import autoregressive_flow
from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import convolutional_network, mlp
from harness.bijections.coupling.residual_mlp import ResidualMLP
from harness.bijections.coupling.splits import Checkerboard
from harness.bijections.inverse import Inverse
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.transformers.elementwise import Transformer
from harness.conformance.bounds import bounds_on_a_box, global_bounds
from harness.registry import Shape
from harness.seeding import generator
from tests import conformance
from tests.networks import gaussian, perturb

FEATURES = 2


class Given(Bijection):
    """A block with one context held fixed, ``(1, …)``."""

    def __init__(self, block: Bijection, context: Tensor) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("context", context)

    def _for(self, x: Tensor) -> Tensor:
        context: Tensor = self.context  # type: ignore[assignment]
        return context.to(x.dtype).expand(len(x), *context.shape[1:])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.block(x, self._for(x))  # type: ignore[no-any-return]

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        return self.block.inverse_with_convergence(y, self._for(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return self.block.bounds(box)

    def image(self, box: Box) -> Box | None:
        return self.block.image(box)


def _transformer(given: object) -> Transformer:
    found: Transformer = registry.build("transformer", registry.resolve("transformer", given))
    return found


def coupling(given: object, network: Callable[..., torch.nn.Module] = mlp) -> Bijection:
    one = _transformer(given)
    outputs = one.parameters_per_element * 2
    conditioner = network(2 + FEATURES, outputs, 6, 1, generator(0, "c"))
    return Coupling(2, one, conditioner, context=FEATURES)


def of_images(given: object) -> Bijection:
    one = _transformer(given)
    network = convolutional_network(1 + FEATURES, one.parameters_per_element, 3, generator(0, "c"))
    return Coupling(Checkerboard(), one, network, context=FEATURES)


def masked(given: object) -> MaskedAutoregressive:
    one, source = _transformer(given), generator(0, "m")
    count = one.parameters_per_element
    return MaskedAutoregressive(MaskedNetwork(3, count, 8, 1, source, context=FEATURES), one)


def flow(given: object) -> Bijection:
    return autoregressive_flow(
        (3,),
        generator(0, "f"),
        _transformer(given),
        blocks=2,
        width=6,
        layers=1,
        order="reverse",
        mixing={"name": "none"},
        actnorm=True,
        context=FEATURES,
    )


SPLINE = {"name": "rational_quadratic_spline", "bins": 4}
MIXTURE = {"name": "mixture_of_logistics", "components": 3}
SHIFT_FIRST = {"name": "affine", "scale": "bounded_sigmoid", "order": "shift_first"}
VECTOR: Shape = (4,)
PIXELS: Shape = (1, 2, 4)
BLOCKS: dict[str, tuple[Callable[[], Bijection], Shape]] = {
    "additive": (lambda: coupling("additive"), VECTOR),
    "affine": (lambda: coupling("affine"), VECTOR),
    "affine, shift first": (lambda: coupling(SHIFT_FIRST), VECTOR),
    "volume": (lambda: coupling("volume_preserving"), VECTOR),
    "spline": (lambda: coupling(SPLINE), VECTOR),
    "mixture": (lambda: coupling(MIXTURE), VECTOR),
    "residual conditioner": (lambda: coupling("affine", ResidualMLP), VECTOR),
    "image, affine": (lambda: of_images("affine"), PIXELS),
    "image, spline": (lambda: of_images(SPLINE), PIXELS),
    "masked additive": (lambda: masked("additive"), (3,)),
    "masked affine": (lambda: masked("affine"), (3,)),
    "masked spline": (lambda: masked(SPLINE), (3,)),
    "masked mixture": (lambda: masked(MIXTURE), (3,)),
    "masked, backwards": (lambda: Inverse(masked("affine")), (3,)),
    "chain": (lambda: Chain([ActNorm(4), coupling("affine"), coupling(SPLINE)]), VECTOR),
    "flow": (lambda: flow("affine"), (3,)),
}
CONTEXTS = {"zero": 0.0, "near": 1.0, "far": 4.0}
every = pytest.mark.parametrize("name", BLOCKS)


def built(name: str) -> tuple[Bijection, Tensor]:
    make, shape = BLOCKS[name]
    block = make().double()
    perturb(block, 1, 0.2)
    return block, gaussian(5, shape)


def context_of(scale: float, count: int = 1) -> Tensor:
    return scale * gaussian(count, (FEATURES,), seed=7)


@every
@pytest.mark.parametrize("which", CONTEXTS)
def test_the_contract_is_met_under_each_context(name: str, which: str) -> None:
    block, x = built(name)
    fixed = Given(block, context_of(CONTEXTS[which]))
    conformance.check_round_trip(fixed, x, tolerance=1e-9)
    conformance.check_log_det(fixed, x[:2])
    conformance.check_inverse_jacobian(fixed, x[:2])
    if which != "near":
        return
    conformance.check_batch_mates(fixed, x)
    conformance.check_no_hidden_state(fixed, x)
    conformance.check_gradients(fixed, x)
    conformance.check_round_trip(fixed.float(), x.float(), tolerance=1e-3)


@every
@pytest.mark.parametrize("which", CONTEXTS)
def test_bounds_hold_for_every_context(name: str, which: str) -> None:
    block, x = built(name)
    fixed = Given(block, context_of(CONTEXTS[which]))
    box = Box.of(x[:2])
    conformance.assert_passed(global_bounds(fixed, {"an input": x}, climb=which == "far"))
    conformance.assert_passed(bounds_on_a_box(fixed, box, climb=False))


@every
def test_a_sample_has_its_own_context_and_no_other_moves_it(name: str) -> None:
    block, x = built(name)
    contexts = context_of(1.0, len(x))
    for function, given in ((block, x), (block.inverse, block(x, contexts)[0].detach())):
        together = function(given, contexts)
        other = contexts.flip(0)
        other[0] = contexts[0]
        beside = function(given, other)
        for number in range(len(x)):
            one = slice(number, number + 1)
            for a, b in zip(function(given[one], contexts[one]), together, strict=True):
                torch.testing.assert_close(a, b[one])
        assert torch.equal(beside[0][0], together[0][0])
        assert not torch.allclose(beside[0][1], together[0][1])


@every
def test_a_context_that_is_missing_or_of_another_size_is_told(name: str) -> None:
    block, x = built(name)
    for function in (block, block.inverse):
        for context, found in (
            (None, "none was"),
            (gaussian(5, (FEATURES + 1,)), r"not of shape \(5, 3\)"),
        ):
            with pytest.raises(ValueError, match=f"'context' must be .* {found}"):
                function(x, context)
