"""The same chain of couplings in innbench, memcnn and revlib, each with the same weights.

memcnn's block is two couplings, the first of which changes the first half. Neither library has
log-dets, so the loss is of the value alone. revlib passes the gradient of a residual stream on as
it is, which is right for additive couplings only: affine ones are compared with memcnn.
"""

import copy
import importlib
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.transformers.elementwise import Transformer
from harness.conformance.candidate import perturb
from harness.seeding import generator

Kind = Literal["additive", "affine"]
Map = Callable[[Tensor], Tensor]


def chain(kind: Kind, depth: int, dimension: int, width: int, size: float) -> Chain:
    """Couplings whose halves take turns, the first one first; weights moved by ``size``."""
    half = dimension // 2
    parts: list[Bijection] = []
    for number in range(depth):
        transformer: Transformer = registry.build(
            "transformer", registry.resolve("transformer", kind)
        )
        outputs = half * transformer.parameters_per_element
        network = mlp(half, outputs, width, 2, generator(number, "coupling"))
        parts.append(Coupling(half, transformer, network, swap=number % 2 == 0))
    flow = Chain(parts)
    perturb(flow, 0, size)
    return flow


def value(flow: Bijection) -> Map:
    return lambda x: cast(Tensor, flow(x)[0])


class Adapter(nn.Module):
    """memcnn's affine coupling is given the scale and the shift."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.network(x).chunk(2, dim=1)
        return torch.sigmoid(raw + 2), shift


class Peer(NamedTuple):
    """A library's network.

    Attributes:
        map: Value alone; its gradient is that of ``backward()``, for memcnn has no other.
        parameters: In the order of the chain's.
    """

    map: Map
    parameters: list[nn.Parameter]


def memcnn(flow: Chain, kind: Kind) -> Peer:
    networks = _conditioners(flow)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library: Any = importlib.import_module("memcnn")
    blocks = []
    for first, second in zip(networks[::2], networks[1::2], strict=True):
        if kind == "additive":
            coupling = library.AdditiveCoupling(first, second)
        else:
            coupling = library.AffineCoupling(first, second, adapter=Adapter)
        blocks.append(library.InvertibleModuleWrapper(coupling))
    chained = nn.Sequential(*blocks)
    # It frees the storage of what it is given, and has a gradient only where that requires one.
    return Peer(lambda x: cast(Tensor, chained(x.clone().requires_grad_())), _parameters(networks))


def revlib(flow: Chain, kind: Kind) -> Peer | None:
    if kind != "additive":
        return None
    networks = _conditioners(flow)
    library: Any = importlib.import_module("revlib")
    chained = library.ReversibleSequential(*networks)
    return Peer(lambda x: cast(Tensor, chained(x.detach().requires_grad_())), _parameters(networks))


def _conditioners(flow: Chain) -> list[nn.Module]:
    return [copy.deepcopy(cast(Coupling, part).conditioner) for part in flow.parts]


def _parameters(networks: Sequence[nn.Module]) -> list[nn.Parameter]:
    return [parameter for network in networks for parameter in network.parameters()]


PEERS: dict[str, Callable[[Chain, Kind], Peer | None]] = {"memcnn": memcnn, "revlib": revlib}


def peers(flow: Chain, kind: Kind) -> dict[str, Peer]:
    """Those of the libraries that are installed and have such couplings."""
    there = {name: make(flow, kind) for name, make in PEERS.items() if find_spec(name)}
    return {name: peer for name, peer in there.items() if peer is not None}
