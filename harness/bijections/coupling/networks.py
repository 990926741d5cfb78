"""Networks that condition a coupling: they need not be invertible, only of known Lipschitz bound.

Weights are drawn from a given generator, never from the global one.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from harness.bijections import interval
from harness.bijections.box import Box
from harness.bijections.given import check_layer, check_least
from harness.bijections.spectral import convolution_upper_bound, exact_norm

Layer = nn.Linear | nn.Conv2d
EVERYTHING = slice(None)

SILU_LIPSCHITZ = 1.09983932013
"""``max |d/dx x·σ(x)|``, at x = 2.3993572805, rounded up."""


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with PyTorch's default initialisation, drawn from ``generator``."""
    layer: nn.Linear = skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    _initialise(layer, generator)
    return layer


def convolution(inputs: int, outputs: int, size: int, generator: torch.Generator) -> nn.Conv2d:
    """A convolution that keeps height and width, likewise."""
    layer: nn.Conv2d = skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, inputs, outputs, size, padding=size // 2
    )
    _initialise(layer, generator)
    return layer


def norm(layer: Layer, outputs: slice = EVERYTHING) -> float:
    """An upper bound of the norm of a layer, or of some of its outputs."""
    of_weight = exact_norm if isinstance(layer, nn.Linear) else convolution_upper_bound
    return of_weight(layer.weight[outputs])


def _initialise(layer: Layer, generator: torch.Generator) -> None:
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(layer.weight[0].numel())
    for parameter in layer.parameters():
        if parameter is not layer.weight:
            nn.init.uniform_(parameter, -bound, bound, generator=generator)


class Conditioner(nn.Module):
    """Linear layers or convolutions with SiLU between, the last one zero at the start.

    With a zero last layer a coupling starts as a constant scaling (Kingma & Dhariwal 2018,
    arXiv 1807.03039).
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        for parameter in layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        # Not a slice of the list: that would build a new module, at each call.
        for number, layer in enumerate(self.layers):
            if not number:
                check_layer("Coupling's conditioner", x, layer.weight)  # type: ignore[arg-type]
            x = layer(F.silu(x) if number else x)
        return x

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        """``Lip ≤ Π ‖W_i‖₂ · Lip(SiLU)^(n-1)`` of some of the outputs (dimension 1)."""
        *before, last = cast(list[Layer], list(self.layers))
        bound = SILU_LIPSCHITZ ** len(before) * norm(last, outputs)
        for layer in before:
            bound *= norm(layer)
        return math.inf if math.isnan(bound) else bound  # 0 · inf: what is lost bounds nothing

    def image(self, box: Box) -> Box:
        """A box around the outputs, by interval bounds layer by layer."""
        for number, layer in enumerate(cast(list[Layer], list(self.layers))):
            box = interval.layer(layer, interval.silu(box) if number else box)
        return box


def mlp(
    inputs: int, outputs: int, width: int, layers: int, generator: torch.Generator
) -> Conditioner:
    """A multi-layer perceptron ``(B, inputs) → (B, outputs)`` with ``layers`` hidden layers.

    Raises:
        ValueError: A size below 1, or ``layers`` below 0.
    """
    check_least("mlp", 1, inputs=inputs, outputs=outputs, width=width)
    check_least("mlp", 0, layers=layers)
    sizes = [inputs, *[width] * layers, outputs]
    return Conditioner([linear(a, b, generator) for a, b in pairwise(sizes)])


def convolutional_network(
    inputs: int, outputs: int, width: int, generator: torch.Generator
) -> Conditioner:
    """3×3, 1×1, 3×3 convolutions, ``(B, inputs, H, W) → (B, outputs, H, W)``, as in Glow.

    Raises:
        ValueError: A size below 1.
    """
    check_least("convolutional network", 1, inputs=inputs, outputs=outputs, width=width)
    return Conditioner(
        [
            convolution(inputs, width, 3, generator),
            convolution(width, width, 1, generator),
            convolution(width, outputs, 3, generator),
        ]
    )
