"""Networks of one architecture, run as one vectorised program."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import functional_call
from torch.utils import _pytree as pytree

from harness.bijections.base import Bijection
from harness.bijections.headed import Headed
from harness.bijections.residual.log_determinant import estimates, resample
from harness.bijections.statistics import update_statistics, updated
from harness.training.batched import batched
from harness.training.perceptron import apart
from harness.training.vectorized import Call, vectorize


def _trained(flow: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in flow.parameters() if parameter.requires_grad]


def _fixed(flow: nn.Module) -> dict[str, Tensor]:
    """Buffers, and parameters that are not trained."""
    untrained = {n: p.detach() for n, p in flow.named_parameters() if not p.requires_grad}
    return untrained | dict(flow.named_buffers())


def repeats_weights(flow: nn.Module) -> bool:
    """Whether a parameter or a buffer has two names."""
    return any(
        len(dict(named())) < len(dict(named(remove_duplicate=False)))
        for named in (flow.named_parameters, flow.named_buffers)
    )


class NeedsNetworkError(Exception):
    """A function of a network did more with it than to call it, its inverse and its head."""


class _Apply(Function):
    """A function of all networks, called from a function of one that is being vectorised."""

    @staticmethod
    def forward(function: Any, x: Tensor, slice_of_all: Tensor) -> tuple[Tensor, ...]:
        raise AssertionError("called outside of torch.vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: autograd sees the operations of :meth:`vmap`."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Called where the function itself differentiates: not the members' level."""
        raise NeedsNetworkError

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Likewise."""
        raise NeedsNetworkError

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[None, int | None, int | None], function: Any, x: Tensor, _: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        dimension, size = in_dims[1], info.batch_size
        if in_dims[2] is None:  # a vmap of the function's own, within that over the members
            raise NeedsNetworkError
        stacked = x.expand(size, *x.shape) if dimension is None else x.movedim(dimension, 0)
        found = tuple(apart(one, size) for one in function(stacked.flatten(0, 1)))
        return found, (0,) * len(found)


class _OneOfAll:
    """Stands for a network in a function that is being vectorised; runs all of them at once."""

    def __init__(self, everything: Bijection, slice_of_all: Tensor) -> None:
        self._everything = everything
        # Without it an input that is the same for all networks would not be vectorised.
        self._slice_of_all = slice_of_all

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Any:
        return self._run(self._everything, x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Any:
        return self._run(self._everything.inverse, y, context)

    @property
    def head(self) -> Any:
        """The heads of all networks; one whose networks have none needs the network."""
        head = cast(Headed, self._everything).head
        return _HeadOfAll(lambda z: self._run(lambda z: (head(z),), z, None)[0])

    def _run(self, function: Any, x: Tensor, context: Tensor | None) -> Any:
        if context is not None:
            raise NeedsNetworkError
        return _Apply.apply(function, x, self._slice_of_all)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:
        raise NeedsNetworkError

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What ``isinstance`` asks: whoever asks needs the network."""
        raise NeedsNetworkError


class _HeadOfAll:
    """Stands for the head: it can be called, and whoever wants its weights needs the network."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        self._run_all = run

    def __call__(self, z: Tensor) -> Tensor:
        return self._run_all(z)

    def __getattr__(self, name: str) -> Any:
        raise NeedsNetworkError


class Stack:
    """S networks that differ in nothing but their parameters and buffers.

    All trained parameters lie in one matrix, a row for each network. A function of one network
    runs on all of them at once by ``torch.vmap``, and where it calls the network, all networks
    run as one (:mod:`harness.training.batched`). A function that does more with a network than
    to call it is vectorised together with it, and so is any function of a network that uses a
    weight in two places. Differentiation stays outside, on the batched operations. A stack of
    one calls its network as it is.

    Attributes:
        size: S.
        parameters: Shape ``(S, P)``, changed in place; :meth:`unstack` hands them to the networks.
        gradient: Likewise; what :meth:`differentiate` found last.
    """

    def __init__(self, flows: Sequence[Bijection]) -> None:
        """Of a pack of networks.

        Raises:
            ValueError: A parameter has a hook, and there are several networks.
        """
        self.size = len(flows)
        self._flows = tuple(flows)
        if self.size > 1 and any(parameter._backward_hooks for parameter in _trained(flows[0])):
            raise ValueError("a hook of a parameter works in a pack of one only")
        named = {n: p for n, p in flows[0].named_parameters() if p.requires_grad}
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
        fixed = [_fixed(flow) for flow in flows]
        state = {name: torch.stack([one[name] for one in fixed]) for name in fixed[0]}
        self._state = self._leaves | state
        self._together: Bijection | None = None
        if self.size > 1 and not repeats_weights(flows[0]):
            self._together = cast(Bijection, batched(flows[0], self._state, self.size))
        self._is_estimated = bool(estimates(flows[0]))
        self._is_updated = bool(updated(flows[0]))
        self._need_network: set[Callable[..., Any]] = set()

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

        if self._together and function not in self._need_network:
            together = self._together

            def one(slice_of_all: Tensor, *arguments: Tensor) -> Any:
                return function(_OneOfAll(together, slice_of_all), *arguments)

            try:
                return torch.vmap(one)(self.parameters[:, :1], *stacked)
            except NeedsNetworkError:
                self._need_network.add(function)
        return vectorize(self._flows[0], self._state, function, *stacked)

    @torch.no_grad()
    def resample(self, generators: Sequence[torch.Generator]) -> None:
        """Draw anew what the networks estimate their log-dets with, each from a generator."""
        if not self._is_estimated:
            return
        for number, (flow, generator) in enumerate(zip(self._flows, generators, strict=True)):
            resample(flow, generator)
            if self.size > 1:
                for name, buffer in estimates(flow):
                    self._state[name][number].copy_(buffer)

    @torch.no_grad()
    def update(self, x: Tensor, those: Sequence[bool]) -> None:
        """Let those networks' blocks that follow the data see a slice of ``x`` each."""
        if not self._is_updated:
            return
        for number, (flow, seen) in enumerate(zip(self._flows, x, strict=True)):
            if not those[number]:
                continue
            if self.size == 1:
                update_statistics(flow, seen)
            else:  # in place, so that what moves are the slices of all
                state = {f"module.{name}": all_[number] for name, all_ in self._state.items()}
                functional_call(Call(flow), state, (update_statistics, seen))

    def differentiate(self, losses: Tensor) -> Tensor:
        """Gradients ``(S, P)`` of the losses ``(S,)``; a network's loss depends on it alone."""
        leaves = list(self._leaves.values())
        gradients = torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)
        flat = [gradient.reshape(self.size, -1) for gradient in gradients]
        with torch.no_grad():
            return torch.cat(flat, dim=1, out=self.gradient)

    @torch.no_grad()
    def unstack(self) -> None:
        """Give the networks that the stack was made of their parameters, and what was updated.

        Also in the midst of training: parameters are then views of the stack's own, and follow it.
        """
        for row, flow in zip(self.parameters, self._flows, strict=True):
            pieces = row.split(self._sizes)
            for parameter, piece in zip(_trained(flow), pieces, strict=True):
                parameter.data = piece.view(parameter.shape)
        if self.size > 1 and self._is_updated:
            for number, flow in enumerate(self._flows):
                for name, buffer in flow.named_buffers():
                    buffer.copy_(self._state[name][number])
