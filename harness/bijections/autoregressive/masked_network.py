"""The masked network that conditions each element of a vector on those before it."""

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections import interval
from harness.bijections.box import Box
from harness.bijections.coupling.networks import EVERYTHING, SILU_LIPSCHITZ, linear
from harness.bijections.given import check_context, check_layer, check_least
from harness.bijections.spectral import exact_norm


class MaskedLinear(nn.Module):
    """The weights of ``y = (M ∘ W) x + b`` with a fixed mask M of zeros and ones.

    Args:
        mask: Shape ``(outputs, inputs)``, bool.
        generator: Draws W and b, as for a layer without a mask.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = mask.shape
        layer = linear(inputs, outputs, generator)
        self.weight, self.bias = layer.weight, layer.bias
        self.register_buffer("mask", mask)

    def masked_weight(self) -> Tensor:
        """``M ∘ W``."""
        return torch.where(self.mask, self.weight, 0.0)


class MaskedNetwork(nn.Module):
    """A perceptron whose outputs for element i depend on the elements before i only (MADE).

    ``h_i = t_i(x_j : position_j < position_i; context)``: Germain, Gregor, Murray & Larochelle
    2015, arXiv 1502.03509. Each hidden unit has a degree m and sees what has a degree of at most
    m; the element in position p (from 0) is an input of degree p + 1, and its outputs see hidden
    units of a degree of at most p. Degrees of hidden units are spread evenly over those that are
    of use. SiLU between layers, the last layer zero at the start.

    A context is added to the first layer, unmasked. Then hidden units may have degree 0, so that
    the first element sees the context too.

    Args:
        dimension: D; at least 2, or 1 with a context.
        parameters_per_element: P, how many outputs each element has.
        width: Hidden size.
        layers: Hidden layers, at least 1.
        generator: Draws the weights.
        position: The place of each element in the order, a permutation of 0 … D-1, shape
            ``(D,)``, int64; ``None`` for the order in which they lie.
        context: How many numbers a context has; 0 for none.

    Raises:
        ValueError: A size is too small; there is nothing to condition on, or ``position``
            is no permutation.
    """

    position: Tensor
    sequence: Tensor

    def __init__(
        self,
        dimension: int,
        parameters_per_element: int,
        width: int,
        layers: int,
        generator: torch.Generator,
        *,
        position: Tensor | None = None,
        context: int = 0,
    ) -> None:
        super().__init__()
        name = "masked network"
        check_least(
            name, 1, parameters_per_element=parameters_per_element, width=width, layers=layers
        )
        check_least(name, 0, context=context)
        if dimension < 2 and not (dimension == 1 and context > 0):
            message = (
                "a masked network needs at least 2 dimensions, or 1 and a context, "
                f"to condition on something; dimension is {dimension}, context {context}"
            )
            raise ValueError(message)
        position = torch.arange(dimension) if position is None else position
        if position.shape != (dimension,) or set(position.tolist()) != set(range(dimension)):
            message = (
                f"a masked network's position must be a permutation of 0 to {dimension - 1}, "
                f"not {position.tolist()}"
            )
            raise ValueError(message)
        self.parameters_per_element = parameters_per_element
        self.register_buffer("position", position.clone())
        self.register_buffer("sequence", torch.argsort(position))
        lowest = 0 if context else 1
        hidden = lowest + torch.arange(width) * (dimension - lowest) // width
        degrees = [position + 1, *[hidden] * layers]
        masks = [b.unsqueeze(1) >= a for a, b in pairwise(degrees)]
        # Parameter by parameter, as transformers take them: output k·D + i is of element i.
        masks.append((position.unsqueeze(1) >= hidden).repeat(parameters_per_element, 1))
        self.layers = nn.ModuleList(MaskedLinear(mask, generator) for mask in masks)
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)
        self.context = linear(context, width, generator) if context else None

    def weights(self) -> list[Tensor]:
        """The masked weights."""
        return [layer.masked_weight() for layer in self._layers]

    def forward(
        self, x: Tensor, context: Tensor | None = None, weights: list[Tensor] | None = None
    ) -> Tensor:
        """``(B, D) → (B, P·D)``; output ``k·D + i`` is parameter k of element i.

        Args:
            x: Shape ``(B, D)``.
            context: Shape ``(B, context)``; a network that takes none ignores it.
            weights: Spare masking them again within an inverse.

        Raises:
            ValueError: The input has another shape, dtype or device; or the network was built for
                a context, and none of that size is given.
        """
        check_layer("masked network", x, self._layers[0].weight)
        if self.context is not None:
            context = check_context("masked network", context, self.context.in_features, x)
        weights = self.weights() if weights is None else weights
        for number, (layer, weight) in enumerate(zip(self._layers, weights, strict=True)):
            x = F.linear(F.silu(x) if number else x, weight, layer.bias)
            if number == 0 and self.context is not None:
                x = x + self.context(context)
        return x

    @property
    def _layers(self) -> list[MaskedLinear]:
        return cast(list[MaskedLinear], list(self.layers))

    def _fixed_weights(self) -> list[Tensor]:
        return [weight.detach().double() for weight in self.weights()]

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        """``Lip ≤ Π ‖M_i ∘ W_i‖₂ · Lip(SiLU)^(n-1)`` of some outputs in x, for every context."""
        *before, last = self._fixed_weights()
        bound = SILU_LIPSCHITZ ** len(before) * exact_norm(last[outputs])
        for weight in before:
            bound *= exact_norm(weight)
        return math.inf if math.isnan(bound) else bound

    def sensitivity(self) -> Tensor:
        """``|∂h_a/∂x_j| ≤ (|W_n| … |W_1|)_aj · Lip(SiLU)^(n-1)``, for every x and context.

        Shape ``(P·D, D)``, float64, zero where the masks say so.
        """
        first, *rest = self._fixed_weights()
        bound = first.abs() * SILU_LIPSCHITZ ** len(rest)
        for weight in rest:
            bound = weight.abs() @ bound
        return bound

    def image(self, box: Box) -> Box:
        """A box around the outputs of a box of inputs, layer by layer; ±∞ with a context."""
        if self.context is not None:
            anything = box.lower.new_full((len(self._layers[-1].weight),), torch.inf)
            return Box(-anything, anything)
        for number, (layer, weight) in enumerate(
            zip(self._layers, self._fixed_weights(), strict=True)
        ):
            box = (interval.silu(box) if number else box).linear(weight, layer.bias)
        return box
