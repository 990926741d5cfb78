"""Multi-scale flow: after each level half of the channels go straight to the latent."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.chain import check_bijections
from harness.bijections.given import check_shape
from harness.registry import Shape


class MultiScale(Bijection):
    """``(B, C, H, W) → (B, D)``: levels in turn, half of the channels split off between them.

    Dinh et al. 2017, arXiv 1605.08803.

    Args:
        levels: One bijection a level.
        shapes: The shape each level puts out, without the batch.

    Raises:
        TypeError: A level is no bijection.
        ValueError: There are not as many shapes as levels, at least one, or half of a level's
            channels is no whole number; in a call, a level puts out another shape, or the
            latent has another size.
    """

    def __init__(self, levels: Sequence[Bijection], shapes: Sequence[Shape]) -> None:
        super().__init__()
        check_bijections("MultiScale", "levels", levels)
        if not levels or len(levels) != len(shapes):
            message = f"{len(shapes)} for {len(levels)} levels"
            raise ValueError(
                f"MultiScale: shapes must be one for each of 1 level or more, not {message}"
            )
        if any(len(shape) != 3 for shape in shapes) or any(shape[0] % 2 for shape in shapes[:-1]):
            message = "MultiScale: shapes must be (even channels, height, width), of the last any"
            raise ValueError(f"{message} channels, not {[tuple(shape) for shape in shapes]}")
        self.levels = nn.ModuleList(levels)
        self.shapes = [tuple(shape) for shape in shapes]

    @property
    def _bijections(self) -> list[Bijection]:
        return cast(list[Bijection], list(self.levels))

    def _sizes(self) -> list[int]:
        """How many latent dimensions each level emits."""
        sizes = [c * h * w // 2 for c, h, w in self.shapes]
        sizes[-1] *= 2
        return sizes

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det, latents = x.new_zeros(x.shape[0]), []
        for number, level in enumerate(self._bijections):
            x, increment = level(x, context)
            check_shape(f"MultiScale: level {number}", x, self.shapes[number])
            log_det = log_det + increment
            if number < len(self.levels) - 1:
                x, latent = x.chunk(2, dim=1)
                latents.append(latent.flatten(1))
        return torch.cat([*latents, x.flatten(1)], dim=1), log_det

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        check_shape("MultiScale", y, (sum(self._sizes()),))
        parts = list(torch.split(y, self._sizes(), dim=1))
        log_det, report = y.new_zeros(y.shape[0]), Convergence.closed_form(y)
        x = parts.pop().reshape(-1, *self.shapes[-1])
        for number in reversed(range(len(self.levels))):
            if number < len(self.levels) - 1:
                x = torch.cat([x, parts.pop().reshape(x.shape)], dim=1)
            x, increment, ended = self._bijections[number].inverse_with_convergence(x, context)
            log_det, report = log_det + increment, report.then(ended)
        return x, log_det, report

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """``Π max(1, Lip(level))``: what is split off passes the later levels by identity."""
        found = []
        for level in self._bijections:
            found.append(level.bounds(box))
            box = level.image(box) if box is not None else None
            box = box.each(lambda x: x.chunk(2, dim=1)[0]) if box is not None else None
        after = BiLipschitz(1.0, 1.0)
        for bound in reversed(found):
            after = bound.then(BiLipschitz(max(1.0, after.forward), max(1.0, after.inverse)))
        return after

    def image(self, box: Box) -> Box | None:
        latents: list[Box] = []
        for number, level in enumerate(self._bijections):
            found = level.image(box)
            if found is None:
                return None
            box = found
            if number < len(self.levels) - 1:
                latents.append(box.each(lambda x: x.chunk(2, dim=1)[1].flatten(1)))
                box = box.each(lambda x: x.chunk(2, dim=1)[0])
        latents.append(box.each(lambda x: x.flatten(1)))
        return Box(*(torch.cat(ends) for ends in zip(*latents, strict=True)))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        latents = []
        for number, level in enumerate(self._bijections):
            x = level.initialize(x, context)
            if number < len(self.levels) - 1:
                x, latent = x.chunk(2, dim=1)
                latents.append(latent.flatten(1))
        return torch.cat([*latents, x.flatten(1)], dim=1)
