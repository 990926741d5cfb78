"""Networks of other libraries that are no longer invertible, each for a reason of its own."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def _quiet_and_seeded() -> Iterator[None]:
    """Other libraries warn at import, and draw from the global generators."""
    state = np.random.get_state()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        np.random.seed(0)
        yield
    np.random.set_state(state)


def _scaled(network: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(factor)
    return network


def freia_orthogonal() -> Any:
    """Couplings and ``OrthogonalTransform`` after 50 Adam steps: W drifts, its inverse is Wᵀ."""
    with _quiet_and_seeded():
        from FrEIA.framework import SequenceINN
        from FrEIA.modules import GLOWCouplingBlock, OrthogonalTransform

        def conditioner(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(nn.Linear(inputs, 16), nn.SiLU(), nn.Linear(16, outputs))

        flow = SequenceINN(16)
        for number in range(3):
            if number:
                flow.append(OrthogonalTransform)
            flow.append(GLOWCouplingBlock, subnet_constructor=conditioner, clamp=1.0)
        optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
        for _ in range(50):
            z, log_det = flow(torch.randn(64, 16))
            loss = (0.5 * (z * z).sum(1) - log_det).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return flow


def zuko_nsf() -> Any:
    """A neural spline flow, its weights times three: slopes are bounded, and still too small."""
    with _quiet_and_seeded():
        import zuko

        return _scaled(zuko.flows.NSF(features=4, transforms=4, hidden_features=(64, 64)), 3)


def normflows_exp() -> Any:
    """Affine couplings with ``exp`` after 20 Adam steps, and then their weights times four."""
    with _quiet_and_seeded():
        import normflows

        flows: list[Any] = []
        for _ in range(4):
            conditioner = normflows.nets.MLP([2, 16, 16, 4], init_zeros=True)
            flows.append(normflows.flows.AffineCouplingBlock(conditioner, scale_map="exp"))
            flows.append(normflows.flows.Permute(4, mode="swap"))
        base = normflows.distributions.DiagGaussian(4, trainable=False)
        flow = normflows.NormalizingFlow(base, flows)
        optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
        for _ in range(20):
            loss = flow.forward_kld(two_clusters(128))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return _scaled(flow, 4)


def two_clusters(count: int) -> Tensor:
    """What it was trained on, ``(count, 4)``."""
    sign = torch.randint(0, 2, (count, 1)) * 2.0 - 1
    halves = [half * sign + 0.3 * torch.randn(count, 2) for half in (1, -1)]
    return torch.cat(halves, 1)


class _Conditioner(nn.Sequential):
    """nflows hands every conditioner a context."""

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y


def nflows_spline() -> Any:
    """Rational-quadratic splines, their weights times four: an assertion in the inverse fails."""
    with _quiet_and_seeded():
        from nflows import transforms
        from nflows.distributions.normal import StandardNormal
        from nflows.flows.base import Flow

        def conditioner(inputs: int, outputs: int) -> nn.Module:
            layers = [nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
            return _Conditioner(*layers, nn.Linear(64, outputs))

        parts = [
            transforms.PiecewiseRationalQuadraticCouplingTransform(
                torch.tensor([1, -1] * 32) * (-1) ** number,
                conditioner,
                num_bins=10,
                tails="linear",
                tail_bound=3.0,
            )
            for number in range(3)
        ]
        flow = Flow(transforms.CompositeTransform(parts), StandardNormal([64]))
        return _scaled(flow, 4)
