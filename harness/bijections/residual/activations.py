"""Activations of Lipschitz constant at most 1, with their derivatives."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Activation:
    """``φ``, elementwise, or several such functions side by side in dimension 1.

    Attributes:
        function: ``(B, C, …) → (B, growth · C, …)``, ``‖φ(a) - φ(b)‖₂ ≤ ‖a - b‖₂``.
        derivative: Of each output by the input it comes from, in the shape of the output.
        growth: How many outputs an input has.
    """

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    growth: int = 1


def elu(x: Tensor) -> Tensor:
    """``x`` where positive, else ``eˣ - 1``; Lipschitz constant 1 (arXiv 1511.07289)."""
    return F.elu(x)


def elu_derivative(x: Tensor) -> Tensor:
    """``min(1, eˣ)``."""
    return x.clamp_max(0).exp()


def lip_swish(x: Tensor) -> Tensor:
    """``x σ(x) / 1.1``, of Lipschitz constant below 1 (arXiv 1906.02735)."""
    return x * torch.sigmoid(x) / 1.1


def lip_swish_derivative(x: Tensor) -> Tensor:
    """``(σ(x) + x σ(x) (1 - σ(x))) / 1.1``."""
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate)) / 1.1


def clip_swish(x: Tensor) -> Tensor:
    """``[ξ(x), ξ(-x)] / 1.004`` with ξ LipSwish, twice the channels (arXiv 2102.02694).

    The squared slope is ``ξ'(x)² + ξ'(-x)²``, and ``1.1 (ξ'(x) + ξ'(-x)) = 1``: largest where
    ξ' is, 1.00396². Unlike ReLU and LipSwish it passes the signal of both signs.
    """
    return torch.cat([lip_swish(x), lip_swish(-x)], dim=1) / 1.004


def clip_swish_derivative(x: Tensor) -> Tensor:
    """``[ξ'(x), -ξ'(-x)] / 1.004``."""
    return torch.cat([lip_swish_derivative(x), -lip_swish_derivative(-x)], dim=1) / 1.004


LIP_SWISH = Activation(lip_swish, lip_swish_derivative)

ACTIVATIONS = {
    "elu": Activation(elu, elu_derivative),
    "lip_swish": LIP_SWISH,
    "clip_swish": Activation(clip_swish, clip_swish_derivative, growth=2),
}
