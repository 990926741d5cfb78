"""Networks of one architecture as one network on all their inputs.

S networks on a batch of B each are one network on a batch of S·B, where sample s·B + b is input b
of network s. Most of a network does not notice, for what it does to a sample depends on that
sample alone. Only what holds weights must tell the networks apart, and is exchanged here.
"""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import cast

from torch import Tensor, nn

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import Conditioner
from harness.bijections.headed import Headed
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.permutation import Permutation
from harness.bijections.residual.lipschitz_convolutions import LipschitzConvolutions
from harness.bijections.residual.lipschitz_dense import LipschitzDense
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.nonexpansive import Nonexpansive
from harness.bijections.residual.residual import Residual
from harness.bijections.residual.strongly_monotone import StronglyMonotone
from harness.bijections.shape.multiscale import MultiScale
from harness.training.batched_coupling import BatchedCoupling, runs_together
from harness.training.batched_layers import BatchedActNorm, BatchedPermutation, Layer, run
from harness.training.batched_residual import BatchedResidual
from harness.training.perceptron import BatchedPerceptron, Perceptron
from harness.training.vectorized import State, Vectorized, VectorizedBijection

CONTAINERS = (Chain, Coupling, Headed, MultiScale, StronglyMonotone, nn.ModuleList)
"""Hold no weights themselves: they call their parts, and rearrange what comes and goes."""

CONTRACTIONS = (LipschitzConvolutions, LipschitzDense, LipschitzNetwork, Nonexpansive)
"""What a residual block's weights are known to be normalised by."""


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
    return _layer(module, state, size) or vectorized(module, state, size)


def _container(module: nn.Module, parts: dict[str, nn.Module]) -> nn.Module:
    """A container like ``module`` of other parts, which run as one where they can."""
    if isinstance(module, Chain):
        return BatchedChain(cast(Iterable[Bijection], parts["parts"]))
    conditioner = parts.get("conditioner")
    together = isinstance(module, Coupling) and runs_together(module)
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


def _layer(module: nn.Module, state: State, size: int) -> nn.Module | None:
    """The counterpart written for this kind of layer, if there is one."""
    if type(module) is Permutation:
        return BatchedPermutation(state["index"], state["inverse_index"])
    if type(module) is ActNorm:
        return BatchedActNorm(state["bias"], state["log_scale"])
    if type(module) is Conditioner and all(map(_is_plain_linear, module.layers)):
        names = [f"layers.{number}" for number in range(len(module.layers))]
        layers = [(state[f"{n}.weight"], state[f"{n}.bias"]) for n in names]
        return BatchedPerceptron(Perceptron(layers))
    if type(module) is Residual and type(module.network) in CONTRACTIONS:
        return BatchedResidual(module, state, size)
    return None


def _is_plain_linear(module: nn.Module) -> bool:
    # A subclass, or a weight that is computed from others, may be something else.
    own = {name for name, parameter in module._parameters.items() if parameter is not None}
    return type(module) is nn.Linear and own == {"weight", "bias"} and not _is_hooked(module)


def _is_hooked(module: nn.Module) -> bool:
    """Whether its call does something else than its class's ``forward``, which is exchanged."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    return bool(hooks) or "forward" in vars(module)


def _within(state: State, part: str) -> State:
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
