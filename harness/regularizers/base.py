"""What a penalty is."""

from typing import Protocol

import torch
from torch import Tensor

from harness.bijections.base import Bijection


class Regularizer(Protocol):
    """A scalar added to the loss: ``weight · penalty`` on each ``every``-th step."""

    @property
    def weight(self) -> float:
        """Its factor; 0 switches it off."""

    @property
    def every(self) -> int:
        """Applied on steps 0, every, 2·every, …; kept by the training loop."""

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The random numbers that the penalty on a batch ``(B, *shape)`` takes, if any."""

    def penalty(self, flow: Bijection, x: Tensor, *drawn: Tensor) -> Tensor:
        """The penalty on a batch ``(B, *shape)``, before its weight: a scalar.

        The members of a pack run it at once, so nothing in it branches on a tensor's values.
        """
