"""What a network is trained for."""

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.headed import Head
from harness.datasets.base import Dataset
from harness.record import Measurement


class Task:
    """A loss to train by and a score to report; the loop is the same for all tasks.

    Attributes:
        supervised: Whether :meth:`loss` and :meth:`evaluate` are given the dataset's targets.
    """

    supervised = False

    def head(self, dataset: Dataset, generator: torch.Generator) -> Head | None:
        """What reads the latent, its weights drawn from the generator; ``None`` where nothing does.

        The model is then a :class:`~harness.bijections.headed.Headed`, trained as a whole.
        """
        return None

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The random numbers that the loss of a batch ``(B, *shape)`` takes, if any."""
        return ()

    def loss(self, model: Bijection, x: Tensor, *others: Tensor) -> Tensor:
        """The scalar to minimise, for a batch ``(B, *shape)``.

        The members of a pack run it at once, so nothing in it branches on a tensor's values.

        Args:
            model: The flow, with its head if the task has one.
            x: Inputs.
            others: The batch's targets, if the task is supervised, then what :meth:`draw` gave.
        """
        raise NotImplementedError

    def probed_loss(self, model: Bijection, x: Tensor, *targets: Tensor) -> Tensor:
        """The loss with the same draw at each call: what probes differentiate."""
        return self.loss(model, x, *targets, *self.draw(x, torch.Generator()))

    def evaluate(
        self, model: Bijection, x: Tensor, dataset: Dataset, step: int, *targets: Tensor
    ) -> list[Measurement]:
        """Scores on prepared test inputs, as measurements of probe ``task``."""
        raise NotImplementedError


def score(metric: str, x: Tensor, value: Tensor | float, step: int) -> Measurement:
    """A number of probe ``task`` on the test inputs x, in the precision that they have."""
    dtype = str(x.dtype).removeprefix("torch.")
    return Measurement.of("task", metric, "test", dtype, float(value), len(x), step)
