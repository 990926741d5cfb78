"""What takes part in the training benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

COUPLINGS = 8
BINS, BOUND, FLOOR = 8, 5.0, 1e-3
"""Of the splines: how many bins, from where on the identity, and the least of their slopes."""

Flow = Literal["affine", "spline"]
"""What the couplings are: ``sigmoid(h + 2)`` as the scale, or rational-quadratic splines."""


@dataclass(frozen=True)
class Size:
    """One setting of the benchmark: conditioners of two hidden layers.

    Attributes:
        width: Of both hidden layers.
        batch: Inputs of a step.
        steps: Steps of one turn.
        flow: Affine couplings or splines.
    """

    width: int
    batch: int
    steps: int
    flow: Flow = "affine"

    def __str__(self) -> str:
        return f"{self.flow} 2×{self.width}, batch {self.batch}"


class Contender(Protocol):
    """Networks that are trained further by every turn.

    Attributes:
        name: As the table shows it.
        members: How many networks a step trains.
        parameters: Of one network.
    """

    name: str
    members: int
    parameters: int

    def train(self, steps: int) -> None:
        """Go on training, with a fresh optimiser."""

    def losses(self, x: Tensor) -> list[float]:
        """Mean negative log-likelihood in nats of each network."""


@dataclass(frozen=True)
class Network:
    """A flow as its library gives it.

    Attributes:
        name: Of the library, with its version.
        module: What holds the parameters.
        loss: Mean negative log-likelihood of a batch, by the library's own function.
        latents: Inputs to latents, ``(B, 2) → (B, 2)``.
        inputs: Latents to inputs, by the library's cheapest way.
    """

    name: str
    module: nn.Module
    loss: Callable[[Tensor], Tensor]
    latents: Callable[[Tensor], Tensor]
    inputs: Callable[[Tensor], Tensor]


class PlainLoop:
    """One network in the loop that a person would write: default Adam, no clipping, no logging."""

    members = 1

    def __init__(self, network: Network, data: Tensor, batch: int) -> None:
        self.name, self._network, self._data, self._batch = network.name, network, data, batch
        self.parameters = parameters(network.module)

    def train(self, steps: int) -> None:
        optimizer = torch.optim.Adam(self._network.module.parameters(), lr=1e-3)
        for _ in range(steps):
            x = self._data[torch.randint(len(self._data), (self._batch,))]
            loss = self._network.loss(x)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    @torch.no_grad()
    def losses(self, x: Tensor) -> list[float]:
        return [float(self._network.loss(x))]


def parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
