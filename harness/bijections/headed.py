"""A flow whose latent a head reads: what a task trains that asks more than a density."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box


class Head(nn.Module):
    """A map of latents ``(B, …)`` that need not be invertible, each by itself: ``(B, K)``.

    As of a bijection, no call changes a parameter or a buffer. In evaluation mode samples are
    treated apart; in training a loss may mix those of its batch.
    """

    def initialize(self, z: Tensor) -> None:
        """Set what is initialised from data, given a first batch of latents; nothing, as here."""

    def update(self, z: Tensor) -> None:
        """Move what follows the data, as :meth:`Bijection.update` does; nothing, as here."""


class Headed(Bijection):
    """``F``, and beside it ``head(F(x))``: as a bijection it is the flow, and nothing else.

    Attributes:
        flow: F.
        head: Given the latent, by whoever wants what it says: ``model.head(model(x)[0])``.
    """

    def __init__(self, flow: Bijection, head: Head) -> None:
        super().__init__()
        self.flow, self.head = flow, head
        self.is_affine, self.block_name = flow.is_affine, flow.block_name

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = self.flow(x, context)
        return y, log_det

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.flow.inverse(y, context)

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        return self.flow.inverse_with_convergence(y, context)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """Those of the flow."""
        return self.flow.bounds(box)

    def image(self, box: Box) -> Box | None:
        return self.flow.image(box)

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        return self.flow.scales(x, context)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The flow, then the head by what the flow gives."""
        z = self.flow.initialize(x, context)
        self.head.initialize(z)
        return z


def with_head(flow: Bijection, head: Head | None) -> Bijection:
    """The flow with a head, or as it is where there is none."""
    return flow if head is None else Headed(flow, head)


def flow_of(model: Bijection) -> Bijection:
    """The flow without its head, where it has one."""
    return model.flow if isinstance(model, Headed) else model


def rewrapped(model: Bijection, wrap: Callable[[Bijection], Bijection]) -> Bijection:
    """The model with another flow in the flow's place; its head is the same."""
    flow = wrap(flow_of(model))
    return Headed(flow, model.head) if isinstance(model, Headed) else flow


def outputs(model: Bijection, x: Tensor) -> tuple[Tensor, ...]:
    """All that a model makes of x: ``F(x)``, the log-det, and what its head says if it has one."""
    z, log_det = model(x)
    return (z, log_det, model.head(z)) if isinstance(model, Headed) else (z, log_det)
