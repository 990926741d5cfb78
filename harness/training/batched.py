"""Networks of one architecture as one network on all their inputs.

S networks on a batch of B each are one network on a batch of S·B, where sample s·B + b is input b
of network s. Most of a network does not notice, for what it does to a sample depends on that
sample alone. Only what holds weights must tell the networks apart, and is exchanged here.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.bijections.actnorm import ActNorm
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling import Coupling
from harness.bijections.multiscale import MultiScale
from harness.bijections.networks import Conditioner
from harness.bijections.permutation import Permutation
from harness.training.batched_coupling import BatchedCoupling, has_gradients
from harness.training.batched_layers import BatchedActNorm, BatchedPermutation, Layer, run
from harness.training.perceptron import BatchedPerceptron, Perceptron, apart

State = Mapping[str, Tensor]
"""Parameters and buffers of all networks by name, ``(S, *shape)`` each."""

CONTAINERS = (Chain, Coupling, MultiScale, nn.ModuleList)
"""Hold no weights themselves: they call their parts, and rearrange what comes and goes."""


def batched(module: nn.Module, state: State, size: int) -> nn.Module:
    """The counterpart of ``module`` for batches of S·B.

    Args:
        module: One of the networks, or a part of it; not changed. No weight is in it twice.
        state: Of all networks; the counterpart computes with these very tensors.
        size: S.
    """
    if not state:
        return module
    vectorized = VectorizedBijection if isinstance(module, Bijection) else Vectorized
    if _is_hooked(module) or _within(state, "transformer"):  # a transformer with weights
        return vectorized(module, state, size)
    # Not isinstance: a subclass may compute something else.
    if type(module) in CONTAINERS:
        parts = {
            name: batched(part, _within(state, name), size)
            for name, part in module._modules.items()  # named_children leaves out repetitions
            if part is not None
        }
        return _container(module, parts)
    return _layer(module, state) or vectorized(module, state, size)


def _container(module: nn.Module, parts: dict[str, nn.Module]) -> nn.Module:
    """A container like ``module`` of other parts, which run as one where they can."""
    if isinstance(module, Chain):
        return BatchedChain(cast(Iterable[Bijection], parts["parts"]))
    conditioner = parts.get("conditioner")
    together = isinstance(module, Coupling) and has_gradients(module.transformer)
    if together and isinstance(conditioner, BatchedPerceptron):
        return BatchedCoupling(cast(Coupling, module), conditioner)
    counterpart = copy.copy(module)
    counterpart._modules = dict(parts)
    return counterpart


class BatchedChain(Chain):
    """A chain in which layers that follow each other run as one."""

    def __init__(self, parts: Iterable[Bijection]) -> None:
        super().__init__(parts)
        self._steps: list[Callable[[Tensor], tuple[Tensor, Tensor]]] = []
        for are_layers, group in groupby(self.parts, lambda part: isinstance(part, Layer)):
            together = cast(list[Layer], list(group))
            if are_layers:
                self._steps.append(partial(run, together))
            else:
                self._steps += together

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for steps in self._steps:
            x, increment = steps(x)
            log_det = log_det + increment
        return x, log_det


def _layer(module: nn.Module, state: State) -> nn.Module | None:
    """The counterpart written for this kind of layer, if there is one."""
    if type(module) is Permutation:
        return BatchedPermutation(state["index"], state["inverse_index"])
    if type(module) is ActNorm:
        return BatchedActNorm(state["bias"], state["log_scale"])
    if type(module) is Conditioner and all(map(_is_plain_linear, module.layers)):
        names = [f"layers.{number}" for number in range(len(module.layers))]
        layers = [(state[f"{n}.weight"], state[f"{n}.bias"]) for n in names]
        return BatchedPerceptron(Perceptron(layers))
    return None


def _is_plain_linear(module: nn.Module) -> bool:
    # A subclass, or a weight that is computed from others, may be something else.
    own = {name for name, parameter in module._parameters.items() if parameter is not None}
    return type(module) is nn.Linear and own == {"weight", "bias"} and not _is_hooked(module)


def _is_hooked(module: nn.Module) -> bool:
    """Whether its call does more than its ``forward``, which is what is exchanged."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _within(state: State, part: str) -> State:
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


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

    def _run(self, function: Any, x: Tensor) -> Any:
        found = vectorize(self._unregistered[0], self._state, function, apart(x, self._size))
        if isinstance(found, Tensor):
            return found.flatten(0, 1)
        return tuple(one.flatten(0, 1) for one in found)

    def forward(self, x: Tensor) -> Any:
        return self._run(lambda module, x: module(x), x)


class VectorizedBijection(Vectorized, Bijection):
    """A block that has no counterpart of its own."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor], self._run(lambda module, x: module(x), x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor], self._run(lambda module, y: module.inverse(y), y))
