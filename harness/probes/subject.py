"""What a probe is given: inputs, and a network that it asks."""

import functools
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.precisions import PRECISIONS, PrecisionName
from harness.probes.jacobian import Spectra, spectra
from harness.record import Measurement

Answer = TypeVar("Answer")


Loss = Callable[..., Tensor]
"""A scalar, of a model, a batch of inputs, and their targets if the loss takes them."""


@dataclass(frozen=True)
class Inputs:
    """What a trained network is probed on.

    Attributes:
        sets: Name → inputs ``(N, *shape)`` in float32; ``test`` is in distribution.
        lowest: The least of each entry over the training data, of the shape of one input.
        highest: The greatest, likewise.
        step: After how many training steps.
        targets: One for each test input, where the loss takes them; no other set has any.
    """

    sets: Mapping[str, Tensor]
    lowest: Tensor
    highest: Tensor
    step: int
    targets: Tensor | None = None

    def for_loss(self) -> dict[str, tuple[Tensor, ...]]:
        """Of each set that has what the loss takes: its inputs, then their targets if any."""
        if self.targets is None:
            return {name: (x,) for name, x in self.sets.items()}
        return {"test": (self.sets["test"], self.targets)}

    @property
    def box(self) -> Box:
        """The least box around the training data, in float64."""
        return Box(self.lowest.double(), self.highest.double())

    @property
    def data_radius(self) -> float:
        """``max |x|`` over the training data: the scale against which a sample blew up."""
        return float(torch.maximum(self.lowest.abs(), self.highest.abs()).max())

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
        precision: In which it runs.
        tensors: ``(B, …)`` each, of that precision's dtype or whole numbers.
        with_head: Whether of the network as it was trained, with its head if it has one.
    """

    function: Callable[..., Answer]
    precision: PrecisionName
    tensors: tuple[Tensor, ...]
    with_head: bool = False

    def __await__(self) -> Generator["Question[Any]", Any, Answer]:
        answer: Answer = yield self
        return answer


class Subject:
    """What a probe measures: a network that it asks, and what it is measured on.

    What several probes ask of the same network is answered once.

    Attributes:
        inputs: What it is probed on.
        loss: What it was trained to minimise: a scalar, of the network with its head, a batch, and
            targets where :meth:`Inputs.for_loss` has them.
    """

    def __init__(self, inputs: Inputs, loss: Loss) -> None:
        self.inputs, self.loss = inputs, loss
        self._spectra: dict[int, Spectra] = {}

    def ask(
        self,
        function: Callable[..., Answer],
        precision: PrecisionName,
        *tensors: Tensor,
        with_head: bool = False,
    ) -> Question[Answer]:
        """``await`` it for ``function(network, *tensors)``.

        The networks of a pack may answer as one network on all their inputs: where they are asked
        the same function of tensors alike in shape. So the function treats samples apart: no mean
        over them, not even in what it differentiates, and no noise of its own. It returns tensors
        ``(B, …)``, or a tuple or dict of them. Where it does more with a network than to call it,
        or its inverse, on all samples, each network answers by itself, and so it does a function
        of no tensors, which may return anything.

        Args:
            function: One object for all networks, such as a function of a module. It sets its own
                gradient mode, for none may stand around an ``await``. The network may be the
                trained one itself.
            precision: A key of :data:`harness.precisions.PRECISIONS`. The weights are rounded to
                float32 first, so that float64 and float32 run the same weights, also those of a
                network that was trained in float64; coarser dtypes round them again.
            tensors: Each ``(B, …)``, of that precision's dtype or of whole numbers.
            with_head: Whether the function is given the network as it was trained, with its head
                if it has one, rather than the flow; each network then answers by itself.

        Raises:
            TypeError: It cannot be asked in this way.
            UnsupportedError: From the ``await``: the device, or an operation of the network, does
                not exist in that precision.
        """
        hash(function)
        if precision not in PRECISIONS:
            raise TypeError(f"the precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
        if wrong := [one for one in tensors if not isinstance(one, Tensor) or one.ndim == 0]:
            raise TypeError(f"a network is asked about tensors of samples, not {wrong[0]!r}")
        return Question(function, precision, tensors, with_head)

    async def spectra(self, points: int) -> Spectra:
        """Of the float64 Jacobians at ``inputs.first(points)``."""
        if points not in self._spectra:
            x, _ = self.inputs.first(points)
            self._spectra[points] = await self.ask(spectra, "float64", x.double())
        return self._spectra[points]

    async def bounds(self, box: Box | None = None) -> BiLipschitz:
        """The network's bounds of both Lipschitz constants, computed in float64.

        Args:
            box: Of inputs, float64; ``None`` asks for the global constants.
        """
        return await self.ask(functools.partial(_bounds, box), "float64")


def _bounds(box: Box | None, network: Bijection) -> BiLipschitz:
    return network.bounds(box)


Measuring = Coroutine[Question[Any], Any, list[Measurement]]
Probe = Callable[[Subject, torch.Generator], Measuring]
"""An ``async`` function that changes nothing and awaits nothing but its subject's answers."""
