"""nflows: the same flow; its scale has a floor, ``sigmoid(h + 2) + 0.001``."""

import warnings
from importlib.metadata import version

import torch
from torch import Tensor, nn

from benchmarks.training.contender import BINS, BOUND, COUPLINGS, FLOOR, Flow, Network
from benchmarks.training.peers.conditioner import layers


class Conditioner(nn.Sequential):
    """nflows hands every conditioner a context, which its own multi-layer perceptron refuses."""

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y


def network(width: int, kind: Flow = "affine") -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Its warnings at import are not ours to show.
        from nflows import transforms  # noqa: PLC0415
        from nflows.distributions.normal import StandardNormal  # noqa: PLC0415
        from nflows.flows.base import Flow  # noqa: PLC0415

    def conditioner(inputs: int, outputs: int) -> Conditioner:
        return Conditioner(*layers(inputs, width, outputs))

    def coupling(mask: Tensor) -> nn.Module:
        if kind == "affine":
            return transforms.AffineCouplingTransform(mask, conditioner)  # type: ignore[no-any-return]
        return transforms.PiecewiseRationalQuadraticCouplingTransform(  # type: ignore[no-any-return]
            mask,
            conditioner,
            num_bins=BINS,
            tails="linear",
            tail_bound=BOUND,
            min_bin_width=FLOOR,
            min_bin_height=FLOOR,
            min_derivative=FLOOR,
        )

    steps = []
    for number in range(COUPLINGS):
        mask = torch.tensor([1, -1] if number % 2 else [-1, 1])
        steps += [transforms.ActNorm(2), coupling(mask)]
    flow = Flow(transforms.CompositeTransform(steps), StandardNormal([2]))

    def loss(x: Tensor) -> Tensor:
        mean: Tensor = -flow.log_prob(inputs=x).mean()
        return mean

    def inputs(z: Tensor) -> Tensor:
        x: Tensor = flow._transform.inverse(z)[0]
        return x

    return Network(f"nflows {version('nflows')}", flow, loss, flow.transform_to_noise, inputs)
