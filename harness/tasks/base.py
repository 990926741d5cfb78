"""What a network is trained for."""

from typing import Protocol

from torch import Tensor

from harness.bijections.base import Bijection
from harness.datasets.base import Dataset
from harness.record import Measurement


class Task(Protocol):
    """A loss to train by and a score to report; the loop is the same for all tasks."""

    def loss(self, flow: Bijection, x: Tensor) -> Tensor:
        """The scalar to minimise, for a batch ``(B, *shape)``."""

    def evaluate(
        self, flow: Bijection, x: Tensor, dataset: Dataset, step: int
    ) -> list[Measurement]:
        """Scores on prepared test inputs, as measurements of probe ``task``."""
