"""normflows: the same flow, read as noise to data; its training direction is the inverse."""

import warnings
from importlib.metadata import version

import torch
from torch import Tensor, nn

from benchmarks.training.contender import BINS, BOUND, COUPLINGS, FLOOR, Flow, Network
from benchmarks.training.peers.conditioner import layers


class Spline(nn.Module):
    """Its coupling, turned round: its own flow class has its own residual network within."""

    def __init__(self, coupling: nn.Module) -> None:
        super().__init__()
        self.coupling = coupling

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.coupling.inverse(z)  # type: ignore[operator]
        return x, log_det.view(-1)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.coupling(x)
        return z, log_det.view(-1)


class Conditioner(nn.Sequential):
    """Its spline couplings hand every conditioner a context."""

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y


def network(width: int, kind: Flow = "affine") -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import normflows  # noqa: PLC0415 - its warnings at import are not ours to show
        from normflows.flows.neural_spline.coupling import (  # noqa: PLC0415
            PiecewiseRationalQuadraticCoupling,
        )

    def affine(number: int) -> nn.Module:
        half = "channel_inv" if number % 2 else "channel"
        return normflows.flows.AffineCouplingBlock(  # type: ignore[no-any-return]
            nn.Sequential(*layers(1, width, 2)), scale_map="sigmoid", split_mode=half
        )

    def spline(number: int) -> nn.Module:
        coupling = PiecewiseRationalQuadraticCoupling(
            torch.tensor([1, -1] if number % 2 else [-1, 1]),
            lambda inputs, outputs: Conditioner(*layers(inputs, width, outputs)),
            num_bins=BINS,
            tails="linear",
            tail_bound=BOUND,
            min_bin_width=FLOOR,
            min_bin_height=FLOOR,
            min_derivative=FLOOR,
        )
        return Spline(coupling)

    flows = []
    for number in range(COUPLINGS):
        # Training goes through the list from its end: ActNorm, then the coupling.
        coupling = affine(number) if kind == "affine" else spline(number)
        flows += [coupling, normflows.flows.ActNorm(2)]
    base = normflows.distributions.DiagGaussian(2, trainable=False)
    flow = normflows.NormalizingFlow(base, flows)
    return Network(
        f"normflows {version('normflows')}", flow, flow.forward_kld, flow.inverse, flow.forward
    )
