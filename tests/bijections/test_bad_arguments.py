"""Arguments that no block can be built of: one sentence that names the block and the argument."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from harness import registry
from harness.bijections.attention.token_embedding import TokenEmbedding
from harness.bijections.attention.token_networks import Attention
from harness.bijections.autoregressive.causal_transformer import CausalLayer, CausalTransformer
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.chain import Chain
from harness.bijections.continuous.adaptive_ode import AdaptiveODE
from harness.bijections.continuous.flow_log_determinant import Hutchinson
from harness.bijections.continuous.neural_ode import NeuralODE
from harness.bijections.continuous.reversible_ode import ReversibleODE
from harness.bijections.continuous.vector_field import VectorField
from harness.bijections.coupling.bit_exact import BitExactCoupling
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.grid import Grid
from harness.bijections.coupling.networks import convolutional_network, mlp
from harness.bijections.coupling.residual_mlp import ResidualMLP
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.batch_norm import BatchNorm
from harness.bijections.linear.orthogonal import Householder
from harness.bijections.linear.scaling import Scaling
from harness.bijections.residual.lipschitz_convolutions import LipschitzConvolutions
from harness.bijections.residual.lipschitz_dense import LipschitzDense
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.log_determinant import ExactSeries, Roulette, Series
from harness.bijections.residual.momentum import MomentumResidual
from harness.bijections.residual.residual import Residual
from harness.bijections.residual.strongly_monotone import StronglyMonotone
from harness.bijections.scale_maps.exponentials import ArctanClamp, BoundedExponential, SoftClip
from harness.bijections.scale_maps.sigmoids import BoundedSigmoid, CentredSigmoid, Sigmoid
from harness.bijections.scale_maps.softplus import Softplus
from harness.bijections.shape.logit import Logit
from harness.bijections.shape.multiscale import MultiScale
from harness.bijections.shape.padding import ZeroPadding
from harness.bijections.shape.patches import Patches
from harness.bijections.shape.reshape import Flatten, Squeeze
from harness.bijections.transformers.elementwise import Additive
from harness.bijections.transformers.mixture_transformer import MixtureOfLogistics
from harness.bijections.transformers.spline_transformer import RationalQuadraticSpline
from harness.seeding import generator

G = generator(0, "bad arguments")
INF, NAN = math.inf, math.nan


def spline(**changed: float) -> RationalQuadraticSpline:
    fitting = {
        "bins": 4, "bound": 1.0, "minimum_width": 0.01, "minimum_height": 0.01,
        "minimum_slope": 0.1, "maximum_slope": 10.0,
    }  # fmt: skip
    return RationalQuadraticSpline(**(fitting | changed))  # type: ignore[arg-type]


def field(dimension: int = 3, width: int = 4, layers: int = 1, context: int = 0) -> VectorField:
    return VectorField(dimension, width, layers, G, context)


def attention(outputs: int = 2, width: int = 4, heads: int = 2, tokens: int = 3) -> Attention:
    return Attention(tokens, 2, outputs, width=width, heads=heads, generator=G)


def causal(
    tokens: int = 3, features: int = 2, heads: int = 2, layers: int = 1
) -> CausalTransformer:
    return CausalTransformer(tokens, features, 2, width=4, heads=heads, layers=layers, generator=G)


BAD: dict[str, list[tuple[Callable[..., object], object]]] = {
    r"^{name}: limit must be above 1 and finite, not {value}$": [
        (one, value)
        for one in (BoundedExponential, ArctanClamp, SoftClip)
        for value in (-1, 0, 0.5, 1, INF, NAN)
    ],
    r"^{name}: lower must be above 0 and below 1, not {value}$": [
        (one, value) for one in (BoundedSigmoid, CentredSigmoid) for value in (-1, 0, 1.0, 2, NAN)
    ],
    r"^Sigmoid: floor must be at least 0 and finite, not {value}$": [
        (Sigmoid, value) for value in (-1, INF, NAN)
    ],
    r"^Softplus: floor must be above 0 and below 1, not {value}$": [
        (Softplus, value) for value in (-1.0, 0.0, 1.0, INF, NAN)
    ],
    r"^RationalQuadraticSpline: bins must be at least 2, not {value}$": [
        (lambda value: spline(bins=value), value) for value in (-1, 0, 1)
    ],
    r"^RationalQuadraticSpline: bound must be above 0 and finite, not {value}$": [
        (lambda value: spline(bound=value), value) for value in (-1, 0, INF, NAN)
    ],
    r"^RationalQuadraticSpline: minimum_width must be above 0 and finite, not {value}$": [
        (lambda value: spline(minimum_width=value), value) for value in (-0.1, 0, NAN)
    ],
    r"^RationalQuadraticSpline: minimum_height must be above 0 and finite, not {value}$": [
        (lambda value: spline(minimum_height=value), value) for value in (-0.1, 0, NAN)
    ],
    r"^RationalQuadraticSpline: minimum_slope must be above 0 and finite, not {value}$": [
        (lambda value: spline(minimum_slope=value), value) for value in (-0.1, 0, NAN)
    ],
    r"^RationalQuadraticSpline: maximum_slope must be above 1 and finite, not {value}$": [
        (lambda value: spline(maximum_slope=value), value) for value in (0, 1, INF, NAN)
    ],
    r"^MixtureOfLogistics: components must be at least 1, not {value}$": [
        (MixtureOfLogistics, value) for value in (0, -1)
    ],
    r"^Lipschitz network: dimension must be at least 1, not {value}$": [
        (lambda value: LipschitzNetwork(value, 4, 1, 0.5, G), 0)
    ],
    r"^Lipschitz network: width must be at least 1, not {value}$": [
        (lambda value: LipschitzNetwork(3, value, 1, 0.5, G), 0)
    ],
    r"^Lipschitz network: layers must be at least 1, not {value}$": [
        (lambda value: LipschitzNetwork(3, 4, value, 0.5, G), value) for value in (0, -1)
    ],
    r"network: coefficient must be above 0 and below 1, not {value}$": [
        (one, value)
        for one in (
            lambda value: LipschitzNetwork(3, 4, 1, value, G),
            lambda value: LipschitzDense((3,), 2, 1, value, G),
            lambda value: LipschitzConvolutions((1, 4, 4), 2, value, G),
        )
        for value in (-1, 0, 1, NAN)
    ],
    r"^mlp: inputs must be at least 1, not {value}$": [(lambda value: mlp(value, 2, 4, 1, G), 0)],
    r"^mlp: outputs must be at least 1, not {value}$": [(lambda value: mlp(2, value, 4, 1, G), 0)],
    r"^mlp: width must be at least 1, not {value}$": [(lambda value: mlp(2, 2, value, 1, G), 0)],
    r"^mlp: layers must be at least 0, not {value}$": [(lambda value: mlp(2, 2, 4, value, G), -1)],
    r"^convolutional network: width must be at least 1, not {value}$": [
        (lambda value: convolutional_network(1, 1, value, G), 0)
    ],
    r"^ResidualMLP: width must be at least 1, not {value}$": [
        (lambda value: ResidualMLP(2, 2, value, 1, G), 0)
    ],
    r"^ResidualMLP: blocks must be at least 0, not {value}$": [
        (lambda value: ResidualMLP(2, 2, 4, value, G), -1)
    ],
    r"^Coupling: context must be at least 0, not {value}$": [
        (lambda value: Coupling(1, Additive(), mlp(1, 1, 4, 1, G), context=value), -2),
        (lambda value: BitExactCoupling(1, mlp(1, 1, 4, 1, G), context=value), -2),
    ],
    r"coupling splits its channels in two, so 'first' is at least 1, not {value}$": [
        (lambda value: Coupling(value, Additive(), mlp(1, 1, 4, 1, G)), 0)
    ],
    r"^masked network: width must be at least 1, not {value}$": [
        (lambda value: MaskedNetwork(3, 2, value, 1, G), 0)
    ],
    r"^masked network: layers must be at least 1, not {value}$": [
        (lambda value: MaskedNetwork(3, 2, 4, value, G), 0)
    ],
    r"^masked network: context must be at least 0, not {value}$": [
        (lambda value: MaskedNetwork(3, 2, 4, 1, G, context=value), -1)
    ],
    r"a masked network needs at least 2 dimensions, .* dimension is {value}, context 0$": [
        (lambda value: MaskedNetwork(value, 2, 4, 1, G), value) for value in (-1, 0, 1)
    ],
    r"^vector field: dimension must be at least 1, not {value}$": [
        (lambda value: field(dimension=value), 0)
    ],
    r"^vector field: width must be at least 1, not {value}$": [
        (lambda value: field(width=value), value) for value in (0, -1)
    ],
    r"^vector field: layers must be at least 0, not {value}$": [
        (lambda value: field(layers=value), -1)
    ],
    r"^vector field: context must be at least 0, not {value}$": [
        (lambda value: field(context=value), -2)
    ],
    r"ODE: steps must be at least 1, not {value}$": [
        (lambda value: NeuralODE(field(), steps=value), 0),
        (lambda value: ReversibleODE(field(), steps=value), -1),
    ],
    r"ODE: method must be one of euler, midpoint, rk4, not {value}$": [
        (lambda value: NeuralODE(field(), value), "heun"),
        (lambda value: ReversibleODE(field(), value), "heun"),
    ],
    r"^neural ODE: corrections must not be negative, not {value}$": [
        (lambda value: NeuralODE(field(), corrections=value), -1)
    ],
    r"^adaptive neural ODE: tolerance must be in \(0, 1\), not {value}$": [
        (lambda value: AdaptiveODE(field(), value), value) for value in (0, 1, -1, NAN)
    ],
    r"^reversible ODE: coupling must be in \(0, 1\], not {value}$": [
        (lambda value: ReversibleODE(field(), coupling=value), value) for value in (0, 1.5, NAN)
    ],
    r"^trace estimate: size must be at least 1, not {value}$": [
        (lambda value: Hutchinson(value, G), 0)
    ],
    r"^momentum residual block: momentum must be above 0 and below 1, not {value}$": [
        (lambda value: MomentumResidual([mlp(2, 2, 4, 1, G)], value), value)
        for value in (0, 1, -1, NAN)
    ],
    r"^residual block: maximum_iterations must be at least 1, not {value}$": [
        (lambda value: Residual(LipschitzNetwork(3, 4, 1, 0.5, G), value), 0)
    ],
    r"^strongly monotone block: 'smallest' must be above 0 and below 'largest', not {value} ": [
        (lambda value: StronglyMonotone(3, 4, 1, value, 2.0, G), value) for value in (0, -1, 2.0)
    ],
    r"^power series: terms must be at least 1, not {value}$": [
        (ExactSeries, 0),
        (lambda value: Series(value, 3, G), 0),
    ],
    r"^power series: size must be at least 1, not {value}$": [
        (lambda value: Series(2, value, G), 0)
    ],
    r"^Russian roulette: certain must be at least 1, not {value}$": [
        (lambda value: Roulette(value, 0.5, 3, G), 0)
    ],
    r"^Russian roulette: continuation must be in \(0, 1\), not {value}$": [
        (lambda value: Roulette(1, value, 3, G), value) for value in (0, 1, NAN)
    ],
    r"^Russian roulette: size must be at least 1, not {value}$": [
        (lambda value: Roulette(1, 0.5, value, G), 0)
    ],
    r"^TokenEmbedding: features must be at least 1, not {value}$": [
        (lambda value: TokenEmbedding(value, 4, G), 0)
    ],
    r"^TokenEmbedding: tokens must be at least 1, not {value}$": [
        (lambda value: TokenEmbedding(2, 4, G, tokens=value), 0)
    ],
    r"^TokenEmbedding: epsilon must be positive, not {value}$": [
        (lambda value: TokenEmbedding(2, 4, G, epsilon=value), value) for value in (0, -1, NAN)
    ],
    r"^Attention: heads must be at least 1, not {value}$": [
        (lambda value: attention(heads=value), value) for value in (0, -2)
    ],
    r"^Attention: width must be at least 1, not {value}$": [
        (lambda value: attention(width=value), 0)
    ],
    r"^Attention: width 4 must be a multiple of the number of heads, {value}$": [
        (lambda value: attention(heads=value), 3)
    ],
    r"^CausalLayer: heads must be at least 1, not {value}$": [
        (lambda value: CausalLayer(4, value, G), 0)
    ],
    r"^CausalTransformer: heads must be at least 1, not {value}$": [
        (lambda value: causal(heads=value), value) for value in (0, -2)
    ],
    r"causal layer's width 4 must be a multiple of its heads {value}$": [
        (lambda value: causal(heads=value), 3)
    ],
    r"^CausalTransformer: layers must be at least 1, not {value}$": [
        (lambda value: causal(layers=value), 0)
    ],
    r"^CausalTransformer: tokens must be at least 1, not {value}$": [
        (lambda value: causal(tokens=value), 0)
    ],
    r"^Patches: size must be at least 1, not {value}$": [
        (lambda value: Patches((1, 4, 4), value), value) for value in (0, -2)
    ],
    r"^Patches: patches of size {value} do not tile images of 4 × 4$": [
        (lambda value: Patches((1, 4, 4), value), 3)
    ],
    r"^Patches: shape must be \(channels, height, width\) without the batch, not {value}$": [
        (lambda value: Patches(value, 2), value) for value in ((4,), (1, 0, 4))
    ],
    r"^Flatten: shape must hold sizes of at least 1, not {value}$": [
        (Flatten, value) for value in ((0,), (2, -1))
    ],
    r"^MultiScale: shapes must be one for each of 1 level or more, not {value} for": [
        (lambda value: MultiScale([Squeeze()] * value, [(4, 2, 2)] * value), 0),
        (lambda value: MultiScale([Squeeze()], [(4, 2, 2)] * value), 2),
    ],
    r"^MultiScale: shapes must be \(even channels, height, width\).*, not {value}$": [
        (lambda value: MultiScale([Squeeze(), Squeeze()], value), [(3, 2, 2), (4, 1, 1)]),
        (lambda value: MultiScale([Squeeze()], value), [(4,)]),
    ],
    r"^ZeroPadding: extra must be at least 1, not {value}$": [
        (lambda value: ZeroPadding(3, value), value) for value in (0, -1)
    ],
    r"^{name}: channels must be at least 1, not {value}$": [
        (one, value) for one in (ActNorm, BatchNorm, Scaling) for value in (0, -1)
    ],
    r"^Householder: reflections must be at least 1, not {value}$": [
        (lambda value: Householder(3, G, value), value) for value in (0, -1)
    ],
    r"^ActNorm: smallest must be positive, not {value}$": [
        (lambda value: ActNorm(3, value), value) for value in (0, -1, NAN)
    ],
    r"^BatchNorm: momentum must be within \(0, 1\], not {value}$": [
        (lambda value: BatchNorm(3, momentum=value), value) for value in (0, 1.5, NAN)
    ],
    r"^Scaling: floor must be within \(0, 1\), not {value}$": [
        (lambda value: Scaling(3, value), value) for value in (0, 1, NAN)
    ],
    r"^Logit: alpha must be within \(0, 1/2\), not {value}$": [
        (Logit, value) for value in (0, 0.5, NAN)
    ],
    r"^grid: integer_bits must be from 0 to 64, not {value}$": [(Grid, -1), (Grid, 65)],
}
CASES = [(says, make, value) for says, makes in BAD.items() for make, value in makes]


@pytest.mark.parametrize(("says", "make", "value"), CASES)
def test_an_argument_that_no_block_takes_is_told(
    says: str, make: Callable[[object], object], value: object
) -> None:
    shown = str(value)
    for special in "()[].":
        shown = shown.replace(special, f"\\{special}")
    says = says.replace("{name}", make.__name__).replace("{value}", shown)
    with pytest.raises(ValueError, match=says) as error:
        make(value)
    assert "\n" not in str(error.value)


LEGAL: list[Callable[[], object]] = [
    lambda: BoundedExponential(1.001),
    lambda: Sigmoid(0),
    lambda: mlp(2, 2, 4, 0, G),
    lambda: ResidualMLP(2, 2, 4, 0, G),
    lambda: field(layers=0),
    lambda: spline(bins=2),
    lambda: MixtureOfLogistics(1),
    lambda: ReversibleODE(field(), coupling=1.0),
    lambda: BatchNorm(3, momentum=1.0),
    lambda: Householder(3, G, 1),
    lambda: MultiScale([Squeeze()], [(5, 2, 2)]),
]


@pytest.mark.parametrize("make", LEGAL)
def test_limits_are_legal(make: Callable[[], object]) -> None:
    make()


TOLD = r"at least [12].*, not|(shape must be \(channels, height, width\)|needs images)"


@pytest.mark.parametrize("name", registry.names("architecture"))
def test_no_architecture_takes_an_empty_shape(name: str) -> None:
    settled = registry.resolve("architecture", name)
    with pytest.raises(ValueError, match=TOLD):
        registry.build("architecture", settled, (0,), G)


@pytest.mark.parametrize("estimate", [Series(2, 4, G), Roulette(1, 0.5, 4, G)])
def test_signs_of_another_size_are_told(estimate: Series | Roulette) -> None:
    block = Residual(LipschitzNetwork(5, 4, 1, 0.5, G), in_training=estimate)
    with pytest.raises(ValueError, match=r"^log-det estimate: its size must be .* 5, not 4$"):
        block(torch.rand(3, 5))
    ode = NeuralODE(field(), steps=1, in_training=Hutchinson(4, G))
    with pytest.raises(ValueError, match=r"^log-det estimate: its size must be .* 3, not 4$"):
        ode(torch.rand(2, 3))


def test_what_is_no_bijection_is_told() -> None:
    for name, argument, make in (
        ("Chain", "parts", Chain),
        ("MultiScale", "levels", lambda parts: MultiScale(parts, [(4, 2, 2)] * 2)),
    ):
        says = f"^{name}: {argument} must be bijections, and number 1 is of type Linear$"
        with pytest.raises(TypeError, match=says):
            make([Squeeze(), nn.Linear(2, 2)])  # type: ignore[list-item]


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0, 2)])
def test_statistics_of_nothing_are_told(shape: tuple[int, ...]) -> None:
    actnorm, batch_norm = ActNorm(3), BatchNorm(3)
    for name, take in (
        ("ActNorm", actnorm.initialize),
        ("BatchNorm", batch_norm.initialize),
        ("BatchNorm", batch_norm.update),
    ):
        with pytest.raises(ValueError, match=f"^{name}: the batch is empty, of shape"):
            take(torch.zeros(shape))
    for tensor in (*actnorm.state_dict().values(), *batch_norm.state_dict().values()):
        assert tensor.isfinite().all()
