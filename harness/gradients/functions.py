"""The ways in which a gradient by the parameters is computed, by name."""

import functools
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.func import functional_call

from harness.backpropagation.rebuilding import MemorySaving, guarded, memory_saving
from harness.bijections.base import Bijection
from harness.bijections.headed import Headed, flow_of, rewrapped

Loss = Callable[..., Tensor]
"""A scalar, of a model and a batch: inputs, then their targets if the loss takes them."""
Gradient = Mapping[str, Tensor]
"""By the parameters' names; of single samples each ``(B, *shape)``."""
GradientFunction = Callable[..., Gradient]
"""Of a model, a loss and a batch; by the parameters of the flow, its head staying as it is."""


class Way(NamedTuple):
    """One way to a gradient. None changes the network.

    Attributes:
        of_batch: The gradient of the loss of a batch.
        of_samples: Those of the loss of each sample alone, stacked. Left out, each sample is given
            to ``of_batch`` as a batch of one.
    """

    of_batch: GradientFunction
    of_samples: GradientFunction | None = None


def autograd(network: Bijection, loss: Loss, *batch: Tensor) -> Gradient:
    """By backpropagation, as training does: shapes are those of the parameters.

    A parameter on which the loss does not depend has the gradient 0.
    """
    with torch.enable_grad():
        weights = {name: p.requires_grad_() for name, p in _weights(network).items()}
        value = functional_call(_Of(network, loss), _inside(network, weights), batch)
        if not value.requires_grad:
            return {name: torch.zeros_like(weight) for name, weight in weights.items()}
        found = torch.autograd.grad(value, list(weights.values()), materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def autograd_of_samples(network: Bijection, loss: Loss, *batch: Tensor) -> Gradient:
    """Of all samples at once, by ``vmap`` of ``grad``.

    Raises:
        RuntimeError: The network or the loss branches on data, or does what ``vmap`` cannot.
    """
    module = _Of(network, loss)

    def of_one(weights: dict[str, Tensor], *sample: Tensor) -> Tensor:
        one = tuple(part.unsqueeze(0) for part in sample)
        value: Tensor = functional_call(module, _inside(network, weights), one)
        return value

    each = (None, *(0 for _ in batch))
    found: Gradient = torch.vmap(torch.func.grad(of_one), each)(_weights(network), *batch)
    return found


def rebuilding(
    wrap: Callable[[Bijection], MemorySaving], network: Bijection, loss: Loss, *batch: Tensor
) -> Gradient:
    """By backpropagation through activations that inverses rebuild.

    Raises:
        CannotRebuildError: The network has no such inverses.
    """
    found = autograd(rewrapped(network, wrap), loss, *batch)
    return {name.removeprefix("flow."): one for name, one in found.items()}


def of_samples(way: Way, network: Bijection, loss: Loss, *batch: Tensor) -> Gradient:
    """The gradient of each sample's own loss, ``(B, *shape)`` each.

    All at once where that works, else one by one, which is exact for any network: where a forward
    pass branches on data, each sample takes its own branch.
    """
    if way.of_samples is not None:
        try:
            return way.of_samples(network, loss, *batch)
        except RuntimeError:  # one by one it works, or says better why not
            pass
    single = [
        way.of_batch(network, loss, *(part.unsqueeze(0) for part in sample))
        for sample in zip(*batch, strict=True)
    ]
    return {name: torch.stack([one[name] for one in single]) for name in single[0]}


class _Of(torch.nn.Module):
    """The loss of a network, as a module whose weights ``functional_call`` can replace."""

    def __init__(self, network: Bijection, loss: Loss) -> None:
        super().__init__()
        self.network, self._loss = network, loss

    def forward(self, *batch: Tensor) -> Tensor:
        return self._loss(self.network, *batch)


def _weights(network: Bijection) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in flow_of(network).named_parameters()}


def _inside(network: Bijection, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    place = "network.flow" if isinstance(network, Headed) else "network"
    return {f"{place}.{name}": weight for name, weight in weights.items()}


WayName = Literal["autograd", "memory_saving", "guarded"]
REFERENCE: WayName = "autograd"
"""The way whose gradient in float64 all others are held against."""
WAYS: dict[WayName, Way] = {
    REFERENCE: Way(autograd, autograd_of_samples),
    "memory_saving": Way(functools.partial(rebuilding, memory_saving)),
    "guarded": Way(functools.partial(rebuilding, guarded)),
}
"""A new way to a gradient is a name and a line here, and ``gradient_fidelity`` can measure it."""
assert set(WAYS) == set(get_args(WayName))  # noqa: S101 - of two lists in this file
