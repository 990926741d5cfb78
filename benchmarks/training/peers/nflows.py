"""nflows: the same flow; its scale has a floor, ``sigmoid(h + 2) + 0.001``."""

import warnings
from importlib.metadata import version

import torch
from torch import Tensor, nn

from benchmarks.training.contender import COUPLINGS, Network
from benchmarks.training.peers.conditioner import layers


class Conditioner(nn.Sequential):
    """nflows hands every conditioner a context, which its own multi-layer perceptron refuses."""

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y


def network(width: int) -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Its warnings at import are not ours to show.
        from nflows import transforms  # noqa: PLC0415
        from nflows.distributions.normal import StandardNormal  # noqa: PLC0415
        from nflows.flows.base import Flow  # noqa: PLC0415

    def conditioner(inputs: int, outputs: int) -> Conditioner:
        return Conditioner(*layers(inputs, width, outputs))

    steps = []
    for number in range(COUPLINGS):
        mask = torch.tensor([1, -1] if number % 2 else [-1, 1])
        steps += [
            transforms.ActNorm(2),
            transforms.AffineCouplingTransform(mask, conditioner),
        ]
    flow = Flow(transforms.CompositeTransform(steps), StandardNormal([2]))

    def loss(x: Tensor) -> Tensor:
        mean: Tensor = -flow.log_prob(inputs=x).mean()
        return mean

    return Network(f"nflows {version('nflows')}", flow, loss)
