"""The parameters and buffers of a network, read and replaced where they lie."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

Place = tuple[dict[str, Tensor | None], str]
"""A module's own dictionary of parameters or buffers, and the name there."""


class Weights:
    """Every parameter and buffer of a network, once each, also where it has several names.

    Not ``functional_call``: a walk back replaces them once for all layers, and looks nothing up.

    Args:
        network: Gets no other modules, parameters or buffers afterwards; their values may change.
    """

    def __init__(self, network: nn.Module) -> None:
        found: dict[int, list[Place]] = {}
        for store, name, tensor in _all(network):
            found.setdefault(id(tensor), []).append((store, name))
        self._places = tuple(found.values())

    def now(self) -> list[Tensor]:
        """What is there at present."""
        found = (places[0] for places in self._places)
        return [tensor for store, name in found if (tensor := store[name]) is not None]

    def numbers(self, part: nn.Module) -> tuple[int, ...]:
        """Which of them are a part's."""
        own = {(id(store), name) for store, name, _ in _all(part)}
        return tuple(
            number
            for number, places in enumerate(self._places)
            if any((id(store), name) in own for store, name in places)
        )

    @contextmanager
    def replaced(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Others in their places, for a while."""
        before = self.now()
        self._put(tensors)
        try:
            yield
        finally:
            self._put(before)

    def _put(self, tensors: Iterable[Tensor]) -> None:
        for places, tensor in zip(self._places, tensors, strict=True):
            for store, name in places:
                store[name] = tensor


def _all(network: nn.Module) -> Iterator[tuple[dict[str, Tensor | None], str, Tensor]]:
    for module in network.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is not None:
                    yield store, name, tensor  # type: ignore[misc]
