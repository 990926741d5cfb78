"""Composition of bijections."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box


class Chain(Bijection):
    """``F = F_n ∘ … ∘ F_1``; log-dets add, bi-Lipschitz bounds multiply.

    ``Lip(F) ≤ Π Lip(F_i)`` and ``Lip(F⁻¹) ≤ Π Lip(F_i⁻¹)``.

    Raises:
        TypeError: A part is no bijection.
        ValueError: There is no part.
    """

    def __init__(self, parts: Iterable[Bijection]) -> None:
        super().__init__()
        parts = list(parts)
        check_bijections("Chain", "parts", parts)
        self.parts = nn.ModuleList(parts)
        if not len(self.parts):
            raise ValueError("Chain: it needs at least one part, and 'parts' is empty")

    @property
    def _bijections(self) -> list[Bijection]:
        return cast(list[Bijection], list(self.parts))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        first, *rest = self._bijections
        x, log_det = first(x, context)
        for part in rest:
            x, increment = part(x, context)
            log_det = log_det + increment
        return x, log_det

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        *rest, last = self._bijections
        y, log_det = last.inverse(y, context)
        for part in reversed(rest):
            y, increment = part.inverse(y, context)
            log_det = log_det + increment
        return y, log_det

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        log_det = y.new_zeros(y.shape[0])
        report = Convergence.closed_form(y)
        for part in reversed(self._bijections):
            y, increment, ended = part.inverse_with_convergence(y, context)
            log_det = log_det + increment
            report = report.then(ended)
        return y, log_det, report

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        found = BiLipschitz(1.0, 1.0)
        for part in self._bijections:
            found = found.then(part.bounds(box))
            box = part.image(box) if box is not None else None
        return found

    def image(self, box: Box) -> Box | None:
        found: Box | None = box
        for part in self._bijections:
            found = part.image(found) if found is not None else None
        return found

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for part in self._bijections:
            x = part.initialize(x, context)
        return x


def check_bijections(name: str, argument: str, given: Sequence[object]) -> None:
    """Refuse parts that cannot be inverted.

    Raises:
        TypeError: One is no :class:`Bijection`.
    """
    for number, one in enumerate(given):
        if not isinstance(one, Bijection):
            message = f"{name}: {argument} must be bijections, and number {number} is"
            raise TypeError(f"{message} of type {type(one).__name__}")
