"""Permutation of channels."""

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box


class Permutation(Bijection):
    """``y_i = x_{π(i)}`` in dimension 1: orthogonal, so both constants are 1."""

    index: Tensor
    inverse_index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.register_buffer("inverse_index", torch.argsort(index))

    @classmethod
    def random(cls, channels: int, generator: torch.Generator) -> "Permutation":
        """A permutation drawn uniformly."""
        return cls(torch.randperm(channels, generator=generator))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x[:, self.index], x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y[:, self.inverse_index], y.new_zeros(y.shape[0])

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, 1.0)

    def image(self, box: Box) -> Box:
        return box.each(lambda x: x[:, self.index])
