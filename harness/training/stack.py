"""Networks of one architecture, run as one vectorised program."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from harness.bijections.base import Bijection


class _Run(nn.Module):
    """Calls a function of the network, so that ``functional_call`` can give it other weights."""

    def __init__(self, flow: Bijection) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, function: Callable[..., Any], *arguments: Tensor) -> Any:
        return function(self.flow, *arguments)


def _trained(flow: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in flow.parameters() if parameter.requires_grad]


def _fixed(run: nn.Module) -> dict[str, Tensor]:
    """Buffers, and parameters that are not trained."""
    untrained = {n: p.detach() for n, p in run.named_parameters() if not p.requires_grad}
    return untrained | dict(run.named_buffers())


class Stack:
    """S networks that differ in nothing but their parameters and buffers.

    All trained parameters lie in one matrix, a row for each network. A function of one network
    runs on all of them at once by ``torch.vmap``; differentiation stays outside of it, on the
    batched operations, which takes two thirds of the time of ``vmap(grad(…))``. A stack of one
    calls its network as it is.

    Attributes:
        size: S.
        parameters: Shape ``(S, P)``, changed in place; :meth:`unstack` hands them to the networks.
        gradient: Likewise; what :meth:`differentiate` found last.
    """

    def __init__(self, flows: Sequence[Bijection]) -> None:
        self.size = len(flows)
        self._flows = tuple(flows)
        self._run = _Run(flows[0])
        named = {n: p for n, p in self._run.named_parameters() if p.requires_grad}
        with torch.no_grad():
            rows = [torch.cat([p.reshape(-1) for p in _trained(flow)]) for flow in flows]
            self.parameters = torch.stack(rows)
        self.gradient = torch.zeros_like(self.parameters)
        self._sizes = [p.numel() for p in named.values()]
        pieces = torch.split(self.parameters, self._sizes, dim=1)
        if self.size == 1:
            for parameter, piece in zip(named.values(), pieces, strict=True):
                parameter.data = piece[0].view(parameter.shape)
            self._leaves: dict[str, Tensor] = dict(named)
        else:
            self._leaves = {
                name: piece.detach().view(self.size, *named[name].shape).requires_grad_()
                for name, piece in zip(named, pieces, strict=True)
            }
        fixed = [_fixed(_Run(flow)) for flow in flows]
        self._fixed = {name: torch.stack([one[name] for one in fixed]) for name in fixed[0]}

    def run(self, function: Callable[..., Any], *stacked: Tensor) -> Any:
        """``function(flow, *arguments)`` of every network.

        Args:
            function: Of one network and one slice of each argument; it returns tensors, or a
                tuple or dict of them, and branches on none of their values.
            stacked: Arguments, S slices of each in dimension 0.

        Returns:
            What the function returns, with a dimension of size S before.
        """
        if self.size == 1:
            result = function(self._flows[0], *(argument[0] for argument in stacked))
            return pytree.tree_map(lambda one: one.unsqueeze(0), result)

        def one(state: tuple[dict[str, Tensor], dict[str, Tensor]], *arguments: Tensor) -> Any:
            return functional_call(self._run, state, (function, *arguments))

        return torch.vmap(one)((self._leaves, self._fixed), *stacked)

    def differentiate(self, losses: Tensor) -> Tensor:
        """Gradients ``(S, P)`` of the losses ``(S,)``; a network's loss depends on it alone."""
        leaves = list(self._leaves.values())
        gradients = torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)
        flat = [gradient.reshape(self.size, -1) for gradient in gradients]
        with torch.no_grad():
            return torch.cat(flat, dim=1, out=self.gradient)

    @torch.no_grad()
    def unstack(self) -> None:
        """Give the networks that the stack was made of their parameters."""
        for row, flow in zip(self.parameters, self._flows, strict=True):
            pieces = row.split(self._sizes)
            for parameter, piece in zip(_trained(flow), pieces, strict=True):
                parameter.data = piece.view(parameter.shape)
