"""Whatever knows nothing of packs, vectorised by ``torch.vmap``."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from harness.bijections.base import Bijection, Convergence
from harness.training.perceptron import apart

State = Mapping[str, Tensor]
"""Parameters and buffers of all networks by name, ``(S, *shape)`` each."""


class Call(nn.Module):
    """Calls a function of a module, so that ``functional_call`` can give it other weights."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Any, *arguments: Tensor) -> Any:
        return function(self.module, *arguments)


def vectorize(module: nn.Module, state: State, function: Any, *stacked: Tensor) -> Any:
    """``function(module, *arguments)`` of every network, by ``torch.vmap``.

    Args:
        module: Has the structure of each network.
        state: The weights.
        function: Branches on no tensor's values.
        stacked: Arguments, S slices of each in dimension 0.
    """
    call = Call(module)

    def one(state: dict[str, Tensor], *arguments: Tensor) -> Any:
        return functional_call(call, state, (function, *arguments))

    return torch.vmap(one)({f"module.{n}": tensor for n, tensor in state.items()}, *stacked)


class Vectorized(nn.Module):
    """Whatever has no counterpart of its own."""

    def __init__(self, module: nn.Module, state: State, size: int) -> None:
        super().__init__()
        self._unregistered = (module,)  # its own weights are not those of the counterpart
        self._state, self._size = state, size

    def _run(self, function: Any, x: Tensor, *stacked: Tensor) -> Any:
        """``function(module, x, *arguments)``; the arguments have S slices in dimension 0."""
        x = apart(x, self._size)
        found = vectorize(self._unregistered[0], self._state, function, x, *stacked)
        return pytree.tree_map(lambda one: one.flatten(0, 1), found)

    def forward(self, x: Tensor) -> Any:
        return self._run(lambda module, x: module(x), x)


class VectorizedBijection(Vectorized, Bijection):
    """A block that has no counterpart of its own."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor], self._run(lambda module, x: module(x), x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor], self._run(lambda module, y: module.inverse(y), y))

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        found = self._run(lambda module, y: module.inverse_with_convergence(y), y)
        return cast(tuple[Tensor, Tensor, Convergence], found)
