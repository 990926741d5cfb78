"""What a probe is given: inputs, and a network that it asks."""

from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.probes.jacobian import Spectra, spectra
from harness.record import Measurement

Answer = TypeVar("Answer")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Inputs:
    """What a trained network is probed on.

    Attributes:
        sets: Name → inputs ``(N, *shape)`` in float32; ``test`` is in distribution.
        data_radius: ``max |x|`` over the training data: the scale against which a sample blew up.
        step: After how many training steps.
    """

    sets: Mapping[str, Tensor]
    data_radius: float
    step: int

    def first(self, points: int) -> tuple[Tensor, dict[str, slice]]:
        """The first ``points`` inputs of every set as one batch, and where in it each set is.

        A network treats inputs apart from each other, and one large batch is one call.
        """
        parts = {name: x[:points] for name, x in self.sets.items()}
        places, begin = {}, 0
        for name, part in parts.items():
            places[name] = slice(begin, begin + len(part))
            begin += len(part)
        return torch.cat(list(parts.values())), places


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """``function(network, *tensors)``, which ``await`` gives.

    Attributes:
        function: Of a network in a precision, which it does not change, and of the tensors.
        precision: A key of ``DTYPES``.
        tensors: ``(B, …)`` each, in that precision.
    """

    function: Callable[..., Answer]
    precision: str
    tensors: tuple[Tensor, ...]

    def __await__(self) -> Generator["Question[Any]", Any, Answer]:
        answer: Answer = yield self
        return answer


class Subject:
    """What a probe measures: a network that it asks, and what it is measured on.

    What several probes ask of the same network is answered once.

    Attributes:
        inputs: What it is probed on.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self._spectra: dict[int, Spectra] = {}

    def ask(
        self, function: Callable[..., Answer], precision: str, *tensors: Tensor
    ) -> Question[Answer]:
        """``await`` it for ``function(network, *tensors)``.

        The networks of a pack may answer as one network on all their inputs: where they are asked
        the same function of tensors alike in shape. So the function treats samples apart, and
        returns tensors ``(B, …)``, or a tuple or dict of them. One that is not of tensors may
        return anything: each network answers by itself.

        Args:
            function: One object for all networks, such as a function of a module. It sets its own
                gradient mode: what stands around an ``await`` does not hold within.
            precision: ``float32`` or ``float64``. The weights are rounded to float32 first, so
                that all precisions run the same weights, also those of a network that was trained
                in float64.
            tensors: Each ``(B, …)``, in that precision.
        """
        return Question(function, precision, tensors)

    async def spectra(self, points: int) -> Spectra:
        """Of the float64 Jacobians at ``inputs.first(points)``."""
        if points not in self._spectra:
            x, _ = self.inputs.first(points)
            self._spectra[points] = await self.ask(spectra, "float64", x.double())
        return self._spectra[points]

    async def bounds(self) -> BiLipschitz:
        """The network's bounds of both Lipschitz constants, computed in float64."""
        return await self.ask(_bounds, "float64")


def _bounds(network: Bijection) -> BiLipschitz:
    return network.bounds()


Measuring = Coroutine[Question[Any], Any, list[Measurement]]
Probe = Callable[[Subject, torch.Generator], Measuring]
"""An ``async`` function that changes nothing and awaits nothing but its subject's answers."""
