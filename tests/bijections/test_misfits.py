"""Inputs and contexts that do not fit a block: one sentence that names it, in both directions."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.attention.token_networks import Attention
from harness.bijections.autoregressive.causal_transformer import CausalTransformer
from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.autoregressive.patch_autoregressive import PatchAutoregressive
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.continuous.adaptive_ode import AdaptiveODE
from harness.bijections.continuous.neural_ode import NeuralODE
from harness.bijections.continuous.reversible_ode import ReversibleODE
from harness.bijections.continuous.vector_field import VectorField
from harness.bijections.coupling.bit_exact import BitExactCoupling
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import convolutional_network, mlp
from harness.bijections.coupling.residual_mlp import ResidualMLP
from harness.bijections.coupling.splits import Alternating, Checkerboard
from harness.bijections.free_form import FreeForm
from harness.bijections.inverse import Inverse
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.batch_norm import BatchNorm
from harness.bijections.linear.permutation import Permutation
from harness.bijections.linear.scaling import Scaling
from harness.bijections.residual.lipschitz_convolutions import LipschitzConvolutions
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.momentum import MomentumResidual
from harness.bijections.residual.residual import Residual
from harness.bijections.residual.strongly_monotone import StronglyMonotone
from harness.bijections.shape.logit import Logit
from harness.bijections.shape.multiscale import MultiScale
from harness.bijections.shape.padding import ZeroPadding
from harness.bijections.shape.patches import Patches
from harness.bijections.shape.reshape import Flatten, Squeeze
from harness.bijections.transformers.elementwise import Additive, Transformer
from harness.registry import Shape
from harness.seeding import generator

SOURCE = generator(0, "misfits")
Make = Callable[[], Bijection]


def _transformer(name: str) -> Transformer:
    built: Transformer = registry.build("transformer", registry.resolve("transformer", name))
    return built


def _coupling(name: str, context: int = 0) -> Bijection:
    transformer = _transformer(name)
    inner = mlp(2 + context, 3 * transformer.parameters_per_element, 4, 1, SOURCE)
    return Coupling(2, transformer, inner, context=context)


def _image_coupling(context: int = 0) -> Bijection:
    inner = convolutional_network(1 + context, 2, 4, SOURCE)
    return Coupling(1, _transformer("affine"), inner, context=context)


def _masked(context: int = 0) -> MaskedAutoregressive:
    network = MaskedNetwork(5, 2, 8, 1, SOURCE, context=context)
    return MaskedAutoregressive(network, _transformer("affine"))


def _tokens() -> Bijection:
    network = CausalTransformer(4, 3, 6, width=4, heads=2, layers=1, generator=SOURCE)
    return PatchAutoregressive(network, _transformer("affine"))


def _mixing(name: str) -> Bijection:
    found: Bijection = registry.build("mixing", registry.resolve("mixing", name), 5, SOURCE)
    return found


@dataclass(frozen=True)
class Case:
    """A block, an input's shape that fits it, and shapes that do not."""

    make: Make
    shape: Shape
    misfits: tuple[Shape, ...]
    says: str


VECTORS: tuple[Shape, ...] = ((4,), (6,), (1,), (), (4, 5), (5, 5, 5))
"""What is no vector of five; some would be broadcast, some read along their last dimension."""
WEIGHTED = {
    "actnorm": Case(lambda: ActNorm(5), (5,), ((4,), (1,), (), (4, 5)), "ActNorm"),
    "scaling": Case(lambda: Scaling(5), (5,), ((4,), (1,), (), (4, 5)), "Scaling"),
    "batch norm": Case(lambda: BatchNorm(5), (5,), ((4,), (1,), (), (4, 5)), "BatchNorm"),
    **{
        f"mixing {name}": Case(lambda name=name: _mixing(name), (5,), ((4,), (1,), ()), "^[A-Z]")  # type: ignore[misc]
        for name in registry.names("mixing")
        if name not in ("none", "permutation", "reverse")
    },
    **{
        f"coupling {name}": Case(lambda name=name: _coupling(name), (5,), VECTORS, "[Cc]oupling")  # type: ignore[misc]
        for name in registry.names("transformer")
    },
    "coupling, one changed": Case(
        lambda: Coupling(2, _transformer("additive"), mlp(2, 3, 4, 1, SOURCE)),
        (5,), ((3,), (4,), (7,)), "Coupling",
    ),
    "coupling, alternating": Case(
        lambda: Coupling(Alternating(), _transformer("affine"), ResidualMLP(3, 4, 4, 1, SOURCE)),
        (5,), ((4,), (7,), (1,), (5, 5, 5)), "[Cc]oupling",
    ),
    "coupling, images": Case(
        _image_coupling, (2, 4, 4), ((3, 4, 4), (1, 4, 4), (2,), (2, 4)), "[Cc]oupling"
    ),
    "coupling, checkerboard": Case(
        lambda: Coupling(Checkerboard(), _transformer("affine"),
                         convolutional_network(2, 4, 4, SOURCE)),
        (2, 4, 4), ((3, 4, 4), (2, 3, 4), (2,)), "[Cc]oupling|checkerboard",
    ),
    "masked": Case(_masked, (5,), VECTORS, "masked network"),
    "masked, inverse": Case(lambda: Inverse(_masked()), (5,), VECTORS, "masked network"),
    "patches of a sequence": Case(
        _tokens, (3, 4), ((3, 5), (3, 3), (4, 4), (3,), (3, 4, 1)), "PatchAutoregressive"
    ),
    "residual": Case(
        lambda: Residual(LipschitzNetwork(5, 4, 1, 0.5, SOURCE)), (5,), VECTORS, "Residual"
    ),
    "strongly monotone": Case(
        lambda: StronglyMonotone(5, 4, 1, 0.5, 2.0, SOURCE), (5,), VECTORS, "Residual"
    ),
    "momentum residual": Case(
        lambda: MomentumResidual([mlp(3, 3, 4, 1, SOURCE)], 0.5),
        (6,), ((4,), (5,), (8,), (), (6, 6)), "momentum residual block",
    ),
    "bit-exact coupling": Case(
        lambda: BitExactCoupling(2, mlp(2, 3, 4, 1, SOURCE)), (5,), VECTORS, "[Cc]oupling"
    ),
    "free-form": Case(
        lambda: FreeForm(mlp(5, 5, 4, 1, SOURCE), mlp(5, 5, 4, 1, SOURCE)),
        (5,), VECTORS, "free-form flow",
    ),
    "neural ODE": Case(
        lambda: NeuralODE(VectorField(5, 4, 1, SOURCE), steps=2), (5,), VECTORS, "neural ODE"
    ),
    "neural ODE, corrected": Case(
        lambda: NeuralODE(VectorField(5, 4, 1, SOURCE), steps=2, corrections=1),
        (5,), VECTORS, "neural ODE",
    ),
    "adaptive neural ODE": Case(
        lambda: AdaptiveODE(VectorField(5, 4, 1, SOURCE)), (5,), VECTORS, "neural ODE"
    ),
    "reversible ODE": Case(
        lambda: ReversibleODE(VectorField(3, 4, 1, SOURCE), "midpoint", 2, 0.9),
        (6,), ((3,), (4,), (), (6, 6)), "reversible ODE",
    ),
    "reversible transformer": Case(
        lambda: Coupling(
            2, Additive(), Attention(4, 3, 2, width=4, heads=2, generator=SOURCE), swap=True
        ),
        (5, 4), ((4, 4), (6, 4), (5, 5), (5,), (5, 4, 4)), "[Cc]oupling|Attention|TokenEmbedding",
    ),
    "residual, images": Case(
        lambda: Residual(LipschitzConvolutions((1, 4, 4), 2, 0.5, SOURCE)),
        (1, 4, 4), ((2, 4, 4), (1, 8, 8), (1, 4), (16,)), "Residual",
    ),
}  # fmt: skip
PLAIN = {
    "flatten": Case(lambda: Flatten((2, 3)), (2, 3), ((6,), (3, 2), ()), "Flatten"),
    "squeeze": Case(Squeeze, (1, 4, 4), ((1, 3, 4), (4,), (1, 4)), "Squeeze"),
    "patches": Case(
        lambda: Patches((1, 4, 4), 2),
        (1, 4, 4), ((1, 8, 8), (4, 2, 2), (16,), (2, 4, 4)), "Patches",
    ),
    "permutation": Case(
        lambda: Permutation.reverse(5), (5,), ((4,), (6,), ()), "Permutation"
    ),
    "padding": Case(lambda: ZeroPadding(5, 2), (5,), ((4,), (6,), ()), "ZeroPadding"),
    "multi-scale": Case(
        lambda: MultiScale([Squeeze(), Squeeze()], [(4, 4, 4), (8, 2, 2)]),
        (1, 8, 8), ((1, 4, 4), (2, 8, 8), (1, 7, 8)), "MultiScale|Squeeze",
    ),
    "logit": Case(Logit, (5,), (), "Logit"),
}  # fmt: skip
CASES = WEIGHTED | PLAIN


def _told(function: Callable[[Tensor], object], x: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        function(x)
    sentence = str(error.value)
    assert re.search("input|channels|vary|needs", sentence), sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("name", CASES)
def test_another_shape_is_told(name: str) -> None:
    case = CASES[name]
    block = case.make()
    y, _ = block(torch.rand(3, *case.shape))
    block.inverse(y)
    for misfit in case.misfits:
        _told(block, torch.rand(3, *misfit), case.says)
    if y.shape == (3, *case.shape):
        for misfit in case.misfits:
            _told(block.inverse, torch.rand(3, *misfit), case.says)
    elif case.misfits:
        _told(block.inverse, y[:, :-1], case.says)


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("other", ["double", "half", "whole", "another device"])
def test_another_dtype_or_device_is_told(name: str, other: str) -> None:
    case = WEIGHTED[name]
    block = case.make()
    x = torch.rand(3, *case.shape)
    given = {
        "double": x.double(),
        "half": x.bfloat16(),
        "whole": x.long(),
        "another device": x.to("meta"),
    }[other]
    for function in (block, block.inverse):
        _told(function, given, f"the input is {given.dtype} on {given.device}, and the weights")


@pytest.mark.parametrize("name", PLAIN)
def test_what_has_no_weights_takes_any_precision(name: str) -> None:
    case = PLAIN[name]
    y, log_det = case.make()(torch.rand(3, *case.shape, dtype=torch.float64))
    assert y.dtype == log_det.dtype == torch.float64


def _field() -> VectorField:
    return VectorField(5, 4, 1, SOURCE, context=3)


CONDITIONAL: dict[str, tuple[Callable[[], Bijection], Shape, str]] = {
    "neural ODE": (lambda: NeuralODE(_field(), steps=2), (5,), "vector field"),
    "adaptive neural ODE": (lambda: AdaptiveODE(_field()), (5,), "vector field"),
    "coupling": (lambda: _coupling("affine", 3), (5,), "Coupling"),
    "coupling, images": (lambda: _image_coupling(3), (2, 4, 4), "Coupling"),
    "masked": (lambda: _masked(3), (5,), "masked network"),
    "chain": (lambda: Chain([ActNorm(5), _masked(3)]), (5,), "masked network"),
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_context_that_does_not_fit_is_told(name: str) -> None:
    make, shape, says = CONDITIONAL[name]
    block, x = make(), torch.rand(4, *shape)
    y, _ = block(x, torch.rand(4, 3))
    misfits = {
        r"must be \(batch, 3\), and none was given": None,
        r"not of shape \(4, 2\)": torch.rand(4, 2),
        r"not of shape \(4,\)": torch.rand(4),
        r"for a batch of 4, not of shape \(1, 3\)": torch.rand(1, 3),
        r"not of shape \(4, 3, 7, 7\)": torch.rand(4, 3, 7, 7),
        r"'context' is torch.float64 on cpu, and the input": torch.rand(4, 3).double(),
        r"'context' is torch.int64 on cpu": torch.ones(4, 3).long(),
        r"'context' is torch.float32 on meta": torch.rand(4, 3).to("meta"),
    }
    for sentence, context in misfits.items():
        for function, given in ((block, x), (block.inverse, y)):
            with pytest.raises(ValueError, match=f"^{says}: .*{sentence}"):
                function(given, context)


@pytest.mark.parametrize("name", CASES)
def test_a_block_without_a_context_heeds_none(name: str) -> None:
    """In a chain, blocks that take one stand beside blocks that do not."""
    case = CASES[name]
    block, x = case.make(), torch.rand(4, *case.shape)
    assert torch.equal(block(x)[0], block(x, torch.rand(4, 3))[0])


def test_a_chain_has_a_part() -> None:
    with pytest.raises(ValueError, match=r"^Chain: it needs at least one part"):
        Chain([])
