"""Permutation of channels."""

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.bijections.linear.over_channels import check_channels, check_input


class Permutation(Bijection):
    """``y_i = x_{π(i)}`` in dimension 1: orthogonal, so both constants are 1.

    Args:
        index: π, shape ``(C,)``.

    Raises:
        ValueError: ``index`` is empty or no permutation of ``0 … C-1``; in a call, the input has
            another dimension 1.
    """

    is_affine = True
    index: Tensor
    inverse_index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        check_channels(self, index.numel())
        if index.ndim != 1 or index.sort().values.tolist() != list(range(len(index))):
            message = f"Permutation: index must hold each of 0 … {index.numel() - 1} once"
            raise ValueError(message)
        self.register_buffer("index", index)
        self.register_buffer("inverse_index", torch.argsort(index))

    @classmethod
    def random(cls, channels: int, generator: torch.Generator) -> "Permutation":
        """A permutation drawn uniformly."""
        return cls(torch.randperm(channels, generator=generator))

    @classmethod
    def reverse(cls, channels: int) -> "Permutation":
        """The last first."""
        return cls(torch.arange(channels - 1, -1, -1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x, len(self.index))
        return x[:, self.index], x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, y, len(self.index))
        return y[:, self.inverse_index], y.new_zeros(y.shape[0])

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, 1.0)

    def image(self, box: Box) -> Box:
        return box.each(lambda x: x[:, self.index])
