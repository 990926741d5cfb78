"""Masked autoregressive flows of other libraries, on equal weights.

They lay out hidden units in another order, so the masks are compared too: each unit of theirs is
matched with one of ours that sees the same inputs.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.scale_maps import ScaleMap
from harness.bijections.transformers.elementwise import Affine
from harness.seeding import generator
from tests.networks import gaussian, perturb

DIMENSION, WIDTH = 5, 12  # three hidden units of each degree, in any layout


class Nflows(ScaleMap):
    """``softplus(h) + 1e-3``."""

    def value(self, h: Tensor) -> Tensor:
        return F.softplus(h) + 1e-3

    def log(self, h: Tensor) -> Tensor:
        return self.value(h).log()


class Zuko(ScaleMap):
    """``log g = h / (1 + |h / log 1e-3|)``."""

    def value(self, h: Tensor) -> Tensor:
        return self.log(h).exp()

    def log(self, h: Tensor) -> Tensor:
        return h / (1 + (h / math.log(1e-3)).abs())


def ours(scale: ScaleMap, position: Tensor) -> MaskedAutoregressive:
    network = MaskedNetwork(DIMENSION, 2, WIDTH, 2, generator(0, "peers"), position=position)
    perturb(network, 0, 0.5)
    return MaskedAutoregressive(network, Affine(scale)).double()


def hand_over(flow: MaskedAutoregressive, theirs: list[Any], outputs: Tensor) -> None:
    """Give their layers our weights; ``outputs`` says which output of ours each of theirs is."""
    inputs = torch.arange(DIMENSION)
    sees = they_see = torch.eye(DIMENSION).double()
    for mine, other in zip(flow.network.layers, theirs, strict=True):
        sees = (mine.mask.double() @ sees).sign()  # type: ignore[operator]
        they_see = (other.mask.double() @ they_see).sign()
        chosen = outputs
        if other is not theirs[-1]:
            # Units that see as many inputs see the same ones.
            chosen = torch.empty(WIDTH, dtype=torch.int64)
            chosen[they_see.sum(1).argsort(stable=True)] = sees.sum(1).argsort(stable=True)
        assert torch.equal(other.mask.bool(), mine.mask[chosen][:, inputs])  # type: ignore[index]
        with torch.no_grad():
            other.weight.copy_(mine.weight[chosen][:, inputs])  # type: ignore[index]
            other.bias.copy_(mine.bias[chosen])  # type: ignore[index]
        inputs = chosen


@pytest.mark.filterwarnings("default")  # theirs
def test_nflows() -> None:
    from nflows.transforms.autoregressive import (  # noqa: PLC0415
        MaskedAffineAutoregressiveTransform,
    )

    flow = ours(Nflows(), torch.arange(DIMENSION))
    peer = MaskedAffineAutoregressiveTransform(
        DIMENSION, WIDTH, num_blocks=1, use_residual_blocks=False, activation=F.silu
    ).double()
    made = peer.autoregressive_net
    layers = [made.initial_layer, made.blocks[0].linear, made.final_layer]
    # Theirs lie element by element: scale and shift of the first, of the second, …
    hand_over(flow, layers, torch.arange(2 * DIMENSION).reshape(2, DIMENSION).T.flatten())
    x = gaussian(20, (DIMENSION,), scale=2.0)
    for mine, other in ((flow(x), peer(x)), (flow.inverse(x), peer.inverse(x))):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("default")
def test_zuko_in_any_order() -> None:
    import zuko  # noqa: PLC0415

    position = torch.tensor([3, 0, 4, 1, 2])
    flow = ours(Zuko(), position)
    lazy = zuko.flows.MaskedAutoregressiveTransform(
        DIMENSION, order=position, hidden_features=(WIDTH, WIDTH), activation=nn.SiLU
    ).double()
    layers = [layer for layer in lazy.hyper if isinstance(layer, zuko.nn.MaskedLinear)]
    # Theirs lie element by element, the shift before the scale.
    index = torch.arange(2 * DIMENSION).reshape(2, DIMENSION).flip(0)
    hand_over(flow, layers, index.T.flatten())
    x = gaussian(20, (DIMENSION,), scale=2.0)
    y, log_det = flow(x)
    theirs = lazy()
    torch.testing.assert_close(y, theirs(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        log_det, theirs.log_abs_det_jacobian(x, theirs(x)), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(flow.inverse(x)[0], theirs.inv(x), rtol=1e-10, atol=1e-10)
