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

    def penalty(self, flow: Bijection, x: Tensor, generator: torch.Generator) -> Tensor:
        """The penalty on a batch ``(B, *shape)``, before its weight."""
