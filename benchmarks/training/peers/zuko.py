"""zuko's RealNVP with the sigmoid as its scale, or its spline: no ActNorm, so 32 parameters fewer.

Its own scale, a soft-clipped exponential, is another flow, slower and less steady in training.
"""

import warnings
from functools import partial
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from benchmarks.training.contender import BINS, BOUND, COUPLINGS, FLOOR, Flow, Network


def sigmoid_affine(zuko: Any) -> type:
    """zuko's affine transformation with ``sigmoid(h + 2)`` in place of its scale."""

    class SigmoidAffine(zuko.transforms.MonotonicAffineTransform):  # type: ignore[misc]
        def __init__(self, shift: Tensor, scale: Tensor) -> None:
            super(zuko.transforms.MonotonicAffineTransform, self).__init__()
            self.shift = shift
            self.scale = (scale + 2).sigmoid()
            self.log_scale = nn.functional.logsigmoid(scale + 2)

    return SigmoidAffine


def network(width: int, kind: Flow = "affine") -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import zuko  # noqa: PLC0415 - its warnings at import are not ours to show

    univariate: Any = sigmoid_affine(zuko)
    shapes: list[tuple[int, ...]] = [(), ()]
    if kind == "spline":
        univariate = partial(zuko.transforms.MonotonicRQSTransform, bound=BOUND, slope=FLOOR)
        shapes = [(BINS,), (BINS,), (BINS - 1,)]
    flow = zuko.flows.RealNVP(
        features=2,
        transforms=COUPLINGS,
        univariate=univariate,
        shapes=shapes,
        hidden_features=(width, width),
        activation=nn.SiLU,
    )

    def loss(x: Tensor) -> Tensor:
        mean: Tensor = -flow().log_prob(x).mean()
        return mean

    return Network(
        f"zuko {version('zuko')}",
        flow,
        loss,
        lambda x: flow().transform(x),
        lambda z: flow().transform.inv(z),  # noqa: PLW0108 - built anew at each call
    )
