"""normflows: the same flow, read as noise to data; its training direction is the inverse."""

import warnings
from importlib.metadata import version

from torch import nn

from benchmarks.training.contender import COUPLINGS, Network
from benchmarks.training.peers.conditioner import layers


def network(width: int) -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import normflows  # noqa: PLC0415 - its warnings at import are not ours to show

    flows = []
    for number in range(COUPLINGS):
        # Training goes through the list from its end: ActNorm, then the coupling.
        conditioner = nn.Sequential(*layers(1, width, 2))
        half = "channel_inv" if number % 2 else "channel"
        flows += [
            normflows.flows.AffineCouplingBlock(conditioner, scale_map="sigmoid", split_mode=half),
            normflows.flows.ActNorm(2),
        ]
    base = normflows.distributions.DiagGaussian(2, trainable=False)
    flow = normflows.NormalizingFlow(base, flows)
    return Network(f"normflows {version('normflows')}", flow, flow.forward_kld)
