"""Gradients of a stack against autograd on each network by itself, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness import registry
from harness.bijections.base import Bijection, sum_per_sample
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import Conditioner, convolutional_network, mlp
from harness.bijections.coupling.residual_mlp import ResidualMLP
from harness.bijections.coupling.splits import Alternating, Checkerboard, Halves, Split
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.permutation import Permutation
from harness.bijections.scale_maps.exponentials import Exponential
from harness.bijections.scale_maps.sigmoids import BoundedSigmoid, Sigmoid
from harness.bijections.shape.reshape import Squeeze
from harness.bijections.transformers.differentiation import has_gradients
from harness.bijections.transformers.elementwise import Additive, Affine, Transformer
from harness.bijections.transformers.volume_preserving import VolumePreserving
from harness.seeding import generator
from harness.training.stack import Stack
from tests.bijections.test_scale_maps import MAPS

Build = Callable[[torch.Generator], Bijection]
SIZE, BATCH = 3, 6


def coupled(
    transformer: Transformer,
    source: torch.Generator,
    split: Split | None = None,
    network: Callable[..., nn.Module] = mlp,
) -> Bijection:
    parts: list[Bijection] = []
    split = split or Halves(2)
    for swap in (False, True):
        parts += [ActNorm(5), Permutation.random(5, source)]
        kept, changed = reversed(split.channels(5)) if swap else split.channels(5)
        conditioner = network(kept, transformer.parameters_per_element * changed, 4, 2, source)
        parts.append(Coupling(split, transformer, conditioner, swap=swap))
    return Chain(parts)


def one_input(source: torch.Generator) -> Bijection:
    return Chain([ActNorm(3), Coupling(1, Additive(), mlp(1, 2, 4, 1, source))])


def of_image(source: torch.Generator) -> Bijection:
    return Chain([ActNorm(4), Permutation.random(4, source), ActNorm(4)])


def one_squeeze_twice(source: torch.Generator) -> Bijection:
    squeeze = Squeeze()
    return Chain([squeeze, ActNorm(4), squeeze, ActNorm(16)])


def without_bias(source: torch.Generator) -> Bijection:
    layers = [nn.Linear(2, 4, bias=False), nn.Linear(4, 3)]
    return Coupling(2, Additive(), Conditioner(layers))


class Squashed(nn.Module):
    """A weight in (-1, 1)."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.tanh()


def parametrized(source: torch.Generator) -> Bijection:
    conditioner = mlp(2, 3, 4, 1, source)
    parametrize.register_parametrization(conditioner.layers[0], "weight", Squashed())
    return Coupling(2, Additive(), conditioner)


def repeated_part(source: torch.Generator) -> Bijection:
    coupling = coupled(Additive(), source)
    return Chain([coupling, ActNorm(5), coupling])


class Shifted(ActNorm):
    """Not what its parent computes."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = super().forward(x)
        return y + 1, log_det


class Reversed(Chain):
    """Likewise."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = super().forward(x.flip(1))
        return y, 2 * log_det

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse(y)
        return x.flip(1), 2 * log_det


def subclasses(source: torch.Generator) -> Bijection:
    return Reversed([Shifted(5), coupled(Additive(), source)])


class Doubling(Transformer):
    """Without weights, and without gradients of its own."""

    parameters_per_element = 1

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x + h.sin(), torch.full_like(x, 2.0).log()

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return (y - h.sin()) / 2, torch.full_like(y, 0.5).log()


class Twice(Additive):
    """Has the gradients of its parent, and not its values."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x, 2 * h)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().inverse(y, 2 * h)


class Weighted(Doubling):
    """With a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x, self.weight * h)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().inverse(y, self.weight * h)


def hooked(source: torch.Generator) -> Bijection:
    conditioner = mlp(2, 3, 4, 1, source)
    conditioner.layers[0].register_forward_hook(lambda module, given, found: 2 * found)
    return Chain([ActNorm(5), Coupling(2, Additive(), conditioner)])


def affine(given: object) -> Build:
    scale = registry.build("scale_map", registry.resolve("scale_map", given))
    return lambda source: coupled(Affine(scale), source)


class Negated(Halves):
    """Shows its conditioner the negative of the kept part."""

    def shown(self, part: Tensor, *, second: bool) -> Tensor:
        return -part


def checkered(source: torch.Generator) -> Bijection:
    conditioner = convolutional_network(1, 2, 3, source)
    return Coupling(Checkerboard(), Affine(Exponential()), conditioner)


CASES: dict[str, tuple[Build, tuple[int, ...]]] = {
    **{f"affine {given}": (affine(given), (5,)) for given in MAPS},
    "additive": (lambda source: coupled(Additive(), source), (5,)),
    "affine, shift first": (
        lambda source: coupled(Affine(Sigmoid(0.0), "shift_first"), source),
        (5,),
    ),
    "volume preserving": (lambda source: coupled(VolumePreserving(Exponential()), source), (5,)),
    "volume preserving, shift first": (
        lambda source: coupled(VolumePreserving(Exponential(), "shift_first"), source),
        (5,),
    ),
    "alternating": (lambda source: coupled(Additive(), source, Alternating()), (5,)),
    "residual conditioner": (
        lambda source: coupled(Affine(BoundedSigmoid(0.5)), source, network=ResidualMLP),
        (5,),
    ),
    "a split of another kind": (lambda source: coupled(Additive(), source, Negated(2)), (5,)),
    "checkerboard": (checkered, (1, 2, 4)),
    "no gradients by hand": (lambda source: coupled(Doubling(), source), (5,)),
    "one input": (one_input, (3,)),
    "image": (of_image, (4, 2, 3)),
    "a part without weights twice": (one_squeeze_twice, (1, 4, 4)),
    "no bias": (without_bias, (5,)),
    "parametrized weight": (parametrized, (5,)),
    "a part twice": (repeated_part, (5,)),
    "a transformer's subclass": (lambda source: coupled(Twice(), source), (5,)),
    # One coupling: a transformer in two is a weight used twice, which is another case.
    "a transformer with weights": (
        lambda source: Coupling(2, Weighted(), mlp(2, 3, 4, 1, source)),
        (5,),
    ),
    "a hook": (hooked, (5,)),
    "subclasses that compute something else": (subclasses, (5,)),
}


def both_ways(flow: Bijection, x: Tensor) -> Tensor:
    z, log_det = flow(x)
    back, inverse_log_det = flow.inverse(z.flip(0) + 1)
    ours = sum_per_sample(z**3) + sum_per_sample(back.sin()) + log_det**2
    value: Tensor = (ours + inverse_log_det.cos()).mean()
    return value


def forward_only(flow: Bijection, x: Tensor) -> Tensor:
    z, log_det = flow(x)
    value: Tensor = (sum_per_sample(z**3) + log_det**2).mean()
    return value


def at_a_point_of_its_own(flow: Bijection, x: Tensor) -> Tensor:
    point = torch.full((2, *x.shape[1:]), 0.5, dtype=x.dtype)  # the same for every network
    return forward_only(flow, point)


def in_a_vmap(flow: Bijection, x: Tensor) -> Tensor:
    shifts = torch.arange(5, dtype=x.dtype)  # as many as no batch and no stack has
    return torch.vmap(lambda shift: forward_only(flow, x + shift))(shifts).sum()


def in_a_jvp(flow: Bijection, x: Tensor) -> Tensor:
    found: tuple[Tensor, Tensor] = torch.func.jvp(lambda y: flow(y)[0], (x,), (x.cos(),))  # type: ignore[assignment]
    tangent = found[1]
    value: Tensor = (tangent**2).mean()
    return value


def asks_for_its_class(flow: Bijection, x: Tensor) -> Tensor:
    z, log_det = flow(x)
    factor = 2.0 if isinstance(flow, Bijection) else 100.0
    value: Tensor = factor * (sum_per_sample(z**2) + log_det).mean()
    return value


def asks_for_its_parameters(flow: Bijection, x: Tensor) -> Tensor:
    return forward_only(flow, x) + sum((p**2).sum() for p in flow.parameters())


def networks(build: Build) -> list[Bijection]:
    flows = []
    for seed in range(SIZE):
        flow = build(generator(seed, "stack")).double()
        with torch.no_grad():
            for parameter in flow.parameters():
                spread = generator(seed, "spread")
                noise = torch.randn(parameter.shape, generator=spread, dtype=torch.float64)
                parameter.add_(noise, alpha=0.5)
        flows.append(flow)
    return flows


# PyTorch's own, when it loads its forward mode.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "function",
    [
        forward_only,
        both_ways,
        at_a_point_of_its_own,
        in_a_vmap,
        in_a_jvp,
        asks_for_its_class,
        asks_for_its_parameters,
    ],
)
@pytest.mark.parametrize("name", CASES)
def test_a_stack_has_the_gradients_of_its_networks(
    name: str, function: Callable[[Bijection, Tensor], Tensor]
) -> None:
    build, shape = CASES[name]
    flows = networks(build)
    x = torch.randn(SIZE, BATCH, *shape, generator=generator(0, "x"), dtype=torch.float64)
    values, expected = [], []
    for flow, batch in zip(flows, x, strict=True):
        value = function(flow, batch)
        gradients = torch.autograd.grad(value, list(flow.parameters()), materialize_grads=True)
        values.append(value.detach())
        expected.append(torch.cat([gradient.flatten() for gradient in gradients]))
    stack = Stack(flows)
    found = stack.run(function, x)
    torch.testing.assert_close(found.detach(), torch.stack(values), rtol=1e-11, atol=1e-11)
    gradient = stack.differentiate(found)
    torch.testing.assert_close(gradient, torch.stack(expected), rtol=1e-10, atol=1e-10)
    assert float(gradient.abs().amax()) > 0.01


def test_a_second_pass_backward_is_refused_not_wrong() -> None:
    flows = networks(CASES["one input"][0])
    stack = Stack(flows)
    losses = stack.run(forward_only, torch.ones(SIZE, BATCH, 3, dtype=torch.float64))
    parameters = [one for one in stack._leaves.values() if one.requires_grad]
    torch.autograd.grad(losses.sum(), parameters, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(losses.sum(), parameters)


def test_second_derivatives_are_refused_not_wrong() -> None:
    stack = Stack(networks(CASES["one input"][0]))
    losses = stack.run(forward_only, torch.ones(SIZE, BATCH, 3, dtype=torch.float64))
    parameters = [one for one in stack._leaves.values() if one.requires_grad]
    first = torch.autograd.grad(losses.sum(), parameters, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(one.sum() for one in first).backward()  # type: ignore[union-attr]


BY_HAND: list[object] = [{"name": "affine", "order": "shift_first"}]
BY_HAND += [{"name": "volume_preserving", "order": "shift_first"}]
BY_HAND += [
    name
    for name in registry.names("transformer")
    if has_gradients(registry.build("transformer", registry.resolve("transformer", name)))
]


@pytest.mark.parametrize("name", BY_HAND, ids=str)
def test_a_transformers_own_gradients_are_those_of_autograd(name: object) -> None:
    transformer: Transformer = registry.build("transformer", registry.resolve("transformer", name))
    source = generator(0, "transformer")
    x = torch.randn(7, 3, generator=source, dtype=torch.float64, requires_grad=True)
    features = 3 * transformer.parameters_per_element
    h = torch.randn(7, features, generator=source, dtype=torch.float64, requires_grad=True)
    by_y = torch.randn(7, 3, generator=source, dtype=torch.float64)
    by_log = torch.randn(7, 1, generator=source, dtype=torch.float64)
    y, log_derivative = transformer(x, h)
    total = (y * by_y).sum() + (log_derivative * by_log).sum()
    expected = torch.autograd.grad(total, (x, h), materialize_grads=True)
    found = transformer.gradients(x.detach(), h.detach(), by_y, by_log)
    torch.testing.assert_close(found, expected)
