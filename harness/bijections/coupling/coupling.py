"""Coupling, written once: a split, a conditioner and an elementwise transformer."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from harness.bijections.base import (
    Bijection,
    BiLipschitz,
    Convergence,
    Rebuilt,
    differentiated,
    sum_per_sample,
)
from harness.bijections.box import Box
from harness.bijections.coupling.networks import Conditioner
from harness.bijections.coupling.splits import Halves, Split
from harness.bijections.given import check_context, check_least
from harness.bijections.transformers.differentiation import by_autograd, by_hand, has_gradients
from harness.bijections.transformers.elementwise import Transformer


class Coupling(Bijection):
    """``y_a = x_a``, ``y_b = T(x_b; t(x_a))``.

    Args:
        split: What a and b are; a number stands for the first channels (or vector elements) and
            the others.
        transformer: The elementwise map T.
        conditioner: The network t, from the kept part to T's parameters.
        swap: Keep the second part and transform the first, instead of the reverse.
        context: How many features of a context the conditioner takes beside the kept part, after
            its channels; 0 for a coupling that looks at none. ``(B, context)``, and for images
            also ``(B, context, H, W)``.

    Raises:
        ValueError: ``context`` is negative; in a call, the input or the context has another
            shape, dtype or device.
    """

    def __init__(
        self,
        split: int | Split,
        transformer: Transformer,
        conditioner: nn.Module,
        *,
        swap: bool = False,
        context: int = 0,
    ) -> None:
        super().__init__()
        check_least("Coupling", 0, context=context)
        self.parts = Halves(split) if isinstance(split, int) else split
        self.swap, self.context = swap, context
        self.transformer, self.conditioner = transformer, conditioner

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The part that is kept and the part that is changed."""
        if x.ndim < 2:
            message = "Coupling: the input must be (batch, channels, …), not of shape"
            raise ValueError(f"{message} {tuple(x.shape)}")
        first, second = self.parts.apart(x)
        return (second, first) if self.swap else (first, second)

    def join(self, kept: Tensor, changed: Tensor) -> Tensor:
        """The inverse of :meth:`split`."""
        parts = (changed, kept) if self.swap else (kept, changed)
        return self.parts.together(*parts)

    def _condition(self, kept: Tensor, changed: Tensor, context: Tensor | None) -> Tensor:
        given = self.parts.shown(kept, second=self.swap)
        if self.context:
            given = torch.cat([given, self._beside(given, context)], dim=1)
        h = self.parts.read(self.conditioner(given), second=self.swap)
        each = self.transformer.parameters_per_element
        if h.shape[1] != each * changed.shape[1]:  # some would be broadcast in silence
            message = f"Coupling: its conditioner is for {h.shape[1] / each:g} changed channels"
            raise ValueError(f"{message}, and this input has {changed.shape[1]}")
        return h

    def _beside(self, given: Tensor, context: Tensor | None) -> Tensor:
        context = check_context("Coupling", context, self.context, given)
        if context.ndim < given.ndim:  # the same at every pixel
            context = context[:, :, None, None].expand(-1, -1, *given.shape[2:])
        return context

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = self.split(x)
        h = self._condition(kept, changed, context)
        changed, log_derivative = self.transformer(changed, h)
        return self.join(kept, changed), sum_per_sample(log_derivative)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = self.split(y)
        h = self._condition(kept, changed, context)
        changed, log_derivative = self.transformer.inverse(changed, h)
        return self.join(kept, changed), sum_per_sample(log_derivative)

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        kept, changed = self.split(y)
        h = self._condition(kept, changed, context)
        changed, log_derivative, report = self.transformer.inverse_with_convergence(changed, h)
        return self.join(kept, changed), sum_per_sample(log_derivative), report

    def rebuild(self, y: Tensor, context: Tensor | None = None) -> Rebuilt:
        """The kept part is there, and one evaluation of the conditioner serves both ways.

        The transformer is differentiated by hand where it can be.
        """
        kept, changed = (part.detach() for part in self.split(y))
        kept.requires_grad_()
        with torch.enable_grad():
            h = self._condition(kept, changed, context)
        with torch.no_grad():
            before, _ = self.transformer.inverse(changed, h)
        through = by_hand if has_gradients(self.transformer) else by_autograd
        differentiate = through(self.transformer, before, h)

        def gradients(
            by_y: Tensor | None, by_log_det: Tensor | None, wanted: Sequence[Tensor]
        ) -> tuple[Tensor | None, Sequence[Tensor | None]]:
            if by_y is None and by_log_det is None:
                return None, [None] * len(wanted)
            by_kept, by_changed = self.split(torch.zeros_like(y) if by_y is None else by_y)
            by_log_det = y.new_zeros(len(y)) if by_log_det is None else by_log_det
            by_before, by_h = differentiate(by_changed, by_log_det)
            further, *rest = differentiated([h], [by_h], [kept, *wanted])
            by_kept = by_kept if further is None else by_kept + further
            return self.join(by_kept, by_before), rest

        return Rebuilt(self.join(kept.detach(), before), gradients)

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        kept, changed = self.split(x)
        found = self.transformer.scales(changed, self._condition(kept, changed, context))
        return None if found is None else found.flatten(1)

    def _boxes(self, box: Box) -> tuple[Box, Box, Box]:
        """Boxes of the kept part, of the changed part and of the conditioner's output."""
        ends = [self.split(end.unsqueeze(0)) for end in box]
        kept, changed = (
            Box(*(part.squeeze(0) for part in parts)) for parts in zip(*ends, strict=True)
        )
        if self.context:  # a context may be anything, and so may the output
            shape = (self.transformer.parameters_per_element * len(changed.lower),)
            anything = kept.lower.new_full(shape + changed.lower.shape[1:], torch.inf)
            return kept, changed, Box(-anything, anything)
        given = kept.each(lambda part: self.parts.shown(part, second=self.swap))
        h = cast(Conditioner, self.conditioner).image(given)
        return kept, changed, h.each(lambda out: self.parts.read(out, second=self.swap))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """The transformer's, given the conditioner's Lipschitz bound and, on a box, its range.

        They hold for every context: with one held fixed, the conditioner's constant in the kept
        part is at most that in all its inputs.
        """
        lipschitz = cast(Conditioner, self.conditioner).lipschitz
        if box is None:
            return self.transformer.coupling_bounds(lipschitz())
        _, changed, h = self._boxes(box)
        return self.transformer.coupling_bounds_on(changed, h, lipschitz)

    def image(self, box: Box) -> Box | None:
        kept, changed, h = self._boxes(box)
        moved = self.transformer.image(changed, h)
        if moved is None:
            return None
        ends = [self.join(a.unsqueeze(0), b.unsqueeze(0)) for a, b in zip(kept, moved, strict=True)]
        lower, upper = (end.squeeze(0) for end in ends)
        # What is lost, as 0 · ∞ is, may be anything.
        return Box(
            torch.where(lower.isnan(), -torch.inf, lower),
            torch.where(upper.isnan(), torch.inf, upper),
        )
