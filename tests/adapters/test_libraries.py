"""Networks of other libraries, adapted: the same numbers as the libraries' own, both ways."""

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.adapters.adapt import adapted, input_shape
from harness.bijections.base import BiLipschitz
from harness.bijections.chain import Chain
from tests.networks import gaussian

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # theirs
    import FrEIA.framework as freia
    import FrEIA.modules as freia_modules
    import nflows.transforms
    import normflows
    import zuko
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow

pytestmark = pytest.mark.filterwarnings("default")


def _normal(z: Tensor) -> Tensor:
    return (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


def conditioner(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.SiLU(), nn.Linear(8, outputs))


class WithContext(nn.Sequential):
    def forward(self, x: Tensor, context: None = None) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y


def _zuko_nsf() -> Any:
    return zuko.flows.NSF(features=4, transforms=2, hidden_features=(8, 8))


def _normflows() -> Any:
    flows = [
        normflows.flows.AffineCouplingBlock(normflows.nets.MLP([2, 8, 4]), scale_map="sigmoid"),
        normflows.flows.Permute(4, mode="swap"),
        normflows.flows.AffineConstFlow(4),
        normflows.flows.LULinearPermute(4),
    ]
    return normflows.NormalizingFlow(
        normflows.distributions.DiagGaussian(4, trainable=False), flows
    )


def _nflows() -> Any:
    parts = [
        nflows.transforms.AffineCouplingTransform(
            torch.tensor([1, -1, 1, -1]), lambda i, o: WithContext(conditioner(i, o))
        ),
        nflows.transforms.ReversePermutation(4),
        nflows.transforms.CompositeTransform([nflows.transforms.LULinear(4)]),
    ]
    return Flow(nflows.transforms.CompositeTransform(parts), StandardNormal([4]))


def _freia_sequence() -> Any:
    flow = freia.SequenceINN(4)
    flow.append(freia_modules.GLOWCouplingBlock, subnet_constructor=conditioner)
    flow.append(freia_modules.PermuteRandom, seed=1)
    return flow


def _freia_graph() -> Any:
    nodes = [freia.InputNode(4, name="in")]
    nodes.append(
        freia.Node(nodes[-1], freia_modules.RNVPCouplingBlock, {"subnet_constructor": conditioner})
    )
    nodes.append(freia.Node(nodes[-1], freia_modules.PermuteRandom, {"seed": 2}))
    nodes.append(freia.OutputNode(nodes[-1], name="out"))
    return freia.GraphINN(nodes)


def _freia_split_graph() -> Any:
    start = freia.InputNode(4, name="in")
    split = freia.Node(start, freia_modules.Split, {})
    upper = freia.Node(split.out0, freia_modules.ActNorm, {})
    joined = freia.Node([upper.out0, split.out1], freia_modules.Concat, {})
    return freia.GraphINN([start, split, upper, joined, freia.OutputNode(joined)])


def _zuko_log_prob(flow: Any, x: Tensor) -> Tensor:
    return flow().log_prob(x)  # type: ignore[no-any-return]


def _own_log_prob(flow: Any, x: Tensor) -> Tensor:
    return flow.log_prob(x)  # type: ignore[no-any-return]


def _freia_log_prob(flow: Any, x: Tensor) -> Tensor:
    z, log_det = flow(x)
    found: Tensor = _normal(z) + log_det
    return found


LUL = "normflows LULinearPermute"
FLOWS: dict[str, tuple[Callable[[], Any], Callable[[Any, Tensor], Tensor], list[str]]] = {
    "zuko": (
        _zuko_nsf,
        _zuko_log_prob,
        ["zuko MaskedAutoregressiveTransform: MonotonicRQSTransform"] * 2,
    ),
    "normflows": (
        _normflows,
        _own_log_prob,
        [
            LUL,
            "normflows AffineConstFlow",
            "normflows Permute",
            "normflows AffineCouplingBlock: sigmoid",
        ],
    ),
    "nflows": (
        _nflows,
        _own_log_prob,
        ["nflows AffineCouplingTransform", "nflows ReversePermutation", "nflows LULinear"],
    ),
    "FrEIA": (
        _freia_sequence,
        _freia_log_prob,
        ["FrEIA GLOWCouplingBlock", "FrEIA PermuteRandom"],
    ),
    "FrEIA graph": (
        _freia_graph,
        _freia_log_prob,
        ["FrEIA RNVPCouplingBlock", "FrEIA PermuteRandom"],
    ),
    "FrEIA graph that splits": (_freia_split_graph, _freia_log_prob, ["FrEIA GraphINN"]),
}


def names(flow: nn.Module) -> list[str]:
    """Of the layers, nested chains taken apart."""
    if isinstance(flow, Chain):
        return [name for part in flow.parts for name in names(part)]
    return [str(flow.block_name)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", FLOWS)
def test_density_and_inverse_are_the_librarys_own(name: str) -> None:
    make, log_prob, blocks = FLOWS[name]
    with torch.no_grad():
        theirs = make()
        if "splits" in name:  # its ActNorm is set by the first call
            theirs(gaussian(32, (4,)).float())
        for parameter in theirs.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.1 * torch.randn_like(parameter))
        ours = adapted(copy.deepcopy(theirs)).double().eval()
        x = gaussian(16, (4,))
        z, log_det = ours(x)
        expected = log_prob(theirs.double().eval(), x)
        torch.testing.assert_close(_normal(z) + log_det, expected, rtol=1e-6, atol=1e-6)
        back, log_det_back = ours.inverse(z)
    torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-5, atol=1e-5)
    assert names(ours) == blocks
    assert input_shape(theirs) == (4,)


@pytest.mark.parametrize("name", FLOWS)
def test_the_log_det_is_the_jacobians(name: str) -> None:
    flow = adapted(FLOWS[name][0]()).double().eval()
    x = gaussian(3, (4,))
    flow(x)
    jacobians = torch.stack(
        [torch.func.jacrev(lambda one: flow(one[None])[0][0])(row) for row in x]
    )
    expected = torch.linalg.slogdet(jacobians).logabsdet
    torch.testing.assert_close(flow(x)[1], expected, atol=1e-6, rtol=0)


TRANSFORMS: dict[str, Any] = {
    "elementwise": zuko.transforms.MonotonicAffineTransform(torch.ones(4), torch.ones(4)),
    "soft": zuko.transforms.SoftclipTransform(bound=5.0),
    "rotation": zuko.transforms.RotationTransform(torch.randn(4, 4)),
    "composed": zuko.transforms.ComposedTransform(
        zuko.transforms.PermutationTransform(torch.tensor([2, 0, 3, 1])),
        torch.distributions.AffineTransform(1.0, 3.0),
    ),
    "torch": torch.distributions.ComposeTransform(
        [
            torch.distributions.AffineTransform(torch.zeros(4), torch.arange(1.0, 5.0)),
            torch.distributions.TanhTransform(),
        ]
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_without_weights(name: str) -> None:
    flow = adapted(TRANSFORMS[name]).double()
    x = 0.3 * gaussian(5, (4,))
    z, log_det = flow(x)
    assert z.dtype == torch.float64
    jacobians = torch.func.jacrev(lambda one: flow(one)[0].sum(0))(x).movedim(1, 0)
    expected = torch.linalg.slogdet(jacobians).logabsdet
    torch.testing.assert_close(log_det, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(flow.inverse(z)[0], x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(flow.inverse(z)[1], -log_det, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["zuko", "normflows", "nflows", "FrEIA", "FrEIA graph"])
def test_a_copy_in_another_precision_leaves_the_first_as_it_was(name: str) -> None:
    flow = adapted(FLOWS[name][0]()).eval()
    x = gaussian(3, (4,)).float()
    before = flow(x)[0]
    other = copy.deepcopy(flow).double()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert other(x.double())[0].dtype == torch.float64
    assert torch.equal(flow(x)[0], before)
    assert other(x.double())[0].ne(before).any()


@pytest.mark.parametrize("direction", [1, -1])
def test_scales_are_those_of_the_coupling(direction: int) -> None:
    block = normflows.flows.AffineCouplingBlock(normflows.nets.MLP([2, 8, 4]), scale_map="exp")
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(3)
    flow = adapted(block if direction == -1 else normflows.flows.Reverse(block)).double()
    x = gaussian(5, (4,))
    scales = flow.scales(x)
    if direction == 1:  # nothing is known of what is turned round
        assert scales is None
        return
    log_scale = block.double().flows[1].param_map(x[:, :2])[:, 1::2]
    expected = torch.cat([torch.ones(5, 2, dtype=x.dtype), (-log_scale).exp()], 1)
    torch.testing.assert_close(scales, expected)


def test_only_what_moves_entries_is_bounded() -> None:
    flow = adapted(_freia_sequence())
    assert isinstance(flow, Chain)
    assert [part.bounds() for part in flow.parts] == [  # type: ignore[operator]
        BiLipschitz(float("inf"), float("inf")),
        BiLipschitz(1.0, 1.0),
    ]


def _conditional_freia() -> Any:
    flow = freia.SequenceINN(4)
    flow.append(
        freia_modules.GLOWCouplingBlock, cond=0, cond_shape=(3,), subnet_constructor=conditioner
    )
    return flow


def _two_inputs() -> Any:
    one, two = freia.InputNode(2), freia.InputNode(2)
    joined = freia.Node([one.out0, two.out0], freia_modules.Concat, {})
    return freia.GraphINN([one, two, joined, freia.OutputNode(joined)])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "zuko's distribution": (
        lambda: zuko.lazy.UnconditionalDistribution(
            zuko.distributions.DiagNormal, torch.zeros(2), torch.ones(2)
        ),
        "is no transform",
    ),
    "no bijection": (torch.distributions.transforms.AbsTransform, "is no bijection"),
    "normflows without an inverse": (lambda: normflows.flows.Radial((4,)), "has no inverse"),
    "normflows' network": (lambda: normflows.nets.MLP([2, 2]), "is no flow"),
    "a class beside it": (
        lambda: normflows.ClassCondFlow(normflows.distributions.DiagGaussian(2), []),
        "needs a class or a context",
    ),
    "FrEIA with a condition": (_conditional_freia, "needs a condition"),
    "FrEIA of two inputs": (_two_inputs, "2 inputs and 1 outputs"),
    "FrEIA of nothing": (lambda: freia.SequenceINN(4), "is empty"),
    "nflows' distribution": (lambda: StandardNormal([2]), "is no transform"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_bijection_by_itself_is_refused_in_a_sentence(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(TypeError, match=said):
        adapted(make())
