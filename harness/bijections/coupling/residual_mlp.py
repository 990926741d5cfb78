"""A conditioner with skip connections."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections import interval
from harness.bijections.box import Box
from harness.bijections.coupling.networks import EVERYTHING, SILU_LIPSCHITZ, linear, norm
from harness.bijections.given import check_layer, check_least


class ResidualBlock(nn.Module):
    """``x + W₂ φ(W₁ φ(x) + b₁) + b₂`` with SiLU for φ."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = linear(width, width, generator)
        self.second = linear(width, width, generator)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + branch

    def lipschitz(self) -> float:
        """``1 + ‖W₁‖ ‖W₂‖ Lip(φ)²``."""
        return 1 + norm(self.first) * norm(self.second) * SILU_LIPSCHITZ**2

    def image(self, box: Box) -> Box:
        """A box around the outputs; that both summands stem from one x is not used."""
        inner = interval.layer(self.first, interval.silu(box))
        return box.plus(interval.layer(self.second, interval.silu(inner)))


class ResidualMLP(nn.Module):
    """``(B, inputs) → (B, outputs)``: linear, residual blocks, SiLU and linear, zero at the start.

    The conditioner of neural spline flows (arXiv 1906.04032).

    Args:
        inputs: Size of the input.
        outputs: Size of the output.
        width: Hidden size.
        blocks: How many residual blocks.
        generator: Draws the weights.

    Raises:
        ValueError: A size below 1, or ``blocks`` below 0.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, blocks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        check_least("ResidualMLP", 1, inputs=inputs, outputs=outputs, width=width)
        check_least("ResidualMLP", 0, blocks=blocks)
        self.start = linear(inputs, width, generator)
        self.blocks = nn.Sequential(*(ResidualBlock(width, generator) for _ in range(blocks)))
        self.end = linear(width, outputs, generator)
        for parameter in self.end.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        check_layer("Coupling's conditioner", x, self.start.weight)
        found: Tensor = self.end(F.silu(self.blocks(self.start(x))))
        return found

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        """The product of the parts' bounds, of some of the outputs."""
        bound = norm(self.start) * SILU_LIPSCHITZ * norm(self.end, outputs)
        for block in self.blocks:
            bound *= block.lipschitz()  # type: ignore[operator]
        return math.inf if math.isnan(bound) else bound

    def image(self, box: Box) -> Box:
        """A box around the outputs, by interval bounds layer by layer."""
        box = interval.layer(self.start, box)
        for block in self.blocks:
            box = block.image(box)  # type: ignore[operator]
        return interval.layer(self.end, interval.silu(box))
