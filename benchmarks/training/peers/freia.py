"""FrEIA: a GLOW block is two couplings, so four ActNorms and not eight: 16 parameters fewer.

Its block multiplies by ``exp(clamp · f(h))``; with the log-sigmoid as ``f`` that is
``sigmoid(h + 2)``.
"""

import math
import warnings
from importlib.metadata import version

from torch import Tensor, nn

from benchmarks.training.contender import COUPLINGS, Flow, Network
from benchmarks.training.peers.conditioner import layers


def log_scale(h: Tensor) -> Tensor:
    return nn.functional.logsigmoid(h + 2)


def network(width: int, kind: Flow = "affine") -> Network:
    if kind != "affine":
        raise ValueError(f"FrEIA has no {kind}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Its warnings at import are not ours to show.
        from FrEIA.framework import SequenceINN  # noqa: PLC0415
        from FrEIA.modules import ActNorm, GLOWCouplingBlock  # noqa: PLC0415

    def conditioner(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(*layers(inputs, width, outputs))

    flow = SequenceINN(2)
    for _ in range(COUPLINGS // 2):
        flow.append(ActNorm)
        flow.append(
            GLOWCouplingBlock, subnet_constructor=conditioner, clamp=1.0, clamp_activation=log_scale
        )

    def loss(x: Tensor) -> Tensor:
        z, log_det = flow(x)
        mean: Tensor = (0.5 * (z * z).sum(1) + math.log(2 * math.pi) - log_det).mean()
        return mean

    return Network(
        f"FrEIA {version('FrEIA')}",
        flow,
        loss,
        lambda x: flow(x, jac=False)[0],
        lambda z: flow(z, rev=True, jac=False)[0],
    )
