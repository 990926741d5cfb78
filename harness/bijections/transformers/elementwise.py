"""Elementwise transformers of a coupling."""

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from harness import registry
from harness.bijections.autoregressive.triangular import smallest
from harness.bijections.base import BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.coupling.coupling_bounds import (
    Gain,
    Lipschitz,
    scale_then_shift,
    shear_norm,
    shift_then_scale,
)
from harness.bijections.scale_maps import ScaleMap
from harness.bijections.transformers.elementwise_bounds import Derivatives
from harness.registry import Nested, entry

Order = Literal["scale_first", "shift_first"]


class Transformer(nn.Module):
    """An elementwise bijection ``x ↦ y`` with parameters from the conditioner.

    A closed form implements :meth:`inverse`; one that iterates implements
    :meth:`inverse_with_convergence` instead.

    Attributes:
        parameters_per_element: How many numbers of the conditioner each element takes.
        closed_form: Whether the inverse is one.
    """

    parameters_per_element: int
    closed_form = True

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """``(y, log |dy/dx|)``, both of x's shape; ``h`` has ``parameters_per_element`` times
        as many channels (dimension 1) as ``x``."""  # noqa: D205, D209
        raise NotImplementedError

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """``(x, log |dx/dy|)``."""
        x, log_derivative, _ = self.inverse_with_convergence(y, h)
        return x, log_derivative

    def inverse_with_convergence(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Convergence]:
        """As :meth:`inverse`, and how its iteration ended, per sample."""
        x, log_derivative = self.inverse(y, h)
        return x, log_derivative, Convergence.closed_form(y)

    def scales(self, x: Tensor, h: Tensor) -> Tensor | None:
        """``dy/dx`` of each entry, of x's shape; ``None`` where it is 1 whatever h is."""
        return self(x, h)[1].exp()  # type: ignore[no-any-return]

    def gradients(
        self, x: Tensor, h: Tensor, by_y: Tensor, by_log: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of x and of h, given those of what :meth:`forward` returns.

        Optional: packs of vectors train faster where a transformer without parameters has it.
        """
        raise NotImplementedError

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """Global bounds of the coupling whose conditioner has that Lipschitz bound."""
        raise NotImplementedError

    def coupling_bounds_on(self, x: Box, h: Box, lipschitz: Lipschitz) -> BiLipschitz:
        """Bounds of the coupling on a box: the better of the global ones and the derivatives'.

        Args:
            x: Around the changed part.
            h: Around the conditioner's output.
            lipschitz: Bounds the Lipschitz constant of some of the conditioner's outputs.
        """
        everywhere = self.coupling_bounds(lipschitz(slice(None)))
        found = self.derivatives(x, h)
        return (
            everywhere if found is None else smallest(everywhere, found.coupling_bounds(lipschitz))
        )

    def derivatives(self, x: Box, h: Box) -> Derivatives | None:
        """What is known of the derivatives for all x and h in those boxes, element by element."""
        return None

    def image(self, x: Box, h: Box) -> Box | None:
        """A box around y for all x and h in those boxes; ``None`` where none is known."""
        return None

    def preimage(self, y: Box, h: Box) -> Box | None:
        """A box around x for all y and h in those boxes; ``None`` where none is known."""
        return None


class Additive(Transformer):
    """``y = x + h``: NICE (arXiv 1410.8516)."""

    parameters_per_element = 1

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return x + h, torch.zeros_like(x)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return y - h, torch.zeros_like(y)

    def scales(self, x: Tensor, h: Tensor) -> None:
        return None

    def gradients(
        self, x: Tensor, h: Tensor, by_y: Tensor, by_log: Tensor
    ) -> tuple[Tensor, Tensor]:
        return by_y, by_y

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """``(L + √(L² + 4)) / 2`` both ways: the norm of [[I, 0], [J_t, I]] where ‖J_t‖ = L.

        Tight at a point where ``‖J_t‖₂ = L``; sharper than the ``1 + L`` of arXiv 2006.09347.
        """
        bound = shear_norm(conditioner_lipschitz, 1.0)
        return BiLipschitz(bound, bound)

    def image(self, x: Box, h: Box) -> Box:
        return x.plus(h)

    def preimage(self, y: Box, h: Box) -> Box:
        return y.plus(h.negated())


class Affine(Transformer):
    """``y = x · g(h₁) + h₂`` or ``y = (x + h₂) · g(h₁)``.

    Scale first is RealNVP's order (arXiv 1605.08803), shift first that of Glow's code.

    Args:
        scale: The map g.
        order: Which comes first.
    """

    parameters_per_element = 2

    def __init__(self, scale: ScaleMap, order: Order = "scale_first") -> None:
        super().__init__()
        self.scale = scale
        self.order = order

    def gain(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The factor of x, and its log."""
        return self.scale.value_and_log(raw)

    def inverse_gain(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The factor of y on the way back, and its log."""
        return self.scale.reciprocal_and_log(raw)

    def gradient_of_raw(self, raw: Tensor, by_log: Tensor) -> Tensor:
        """Given the gradient of the factor's log: ``dg = g · d log g``, so no other is needed."""
        return by_log * self.scale.log_slope(raw)

    def gain_on(self, raw: Box) -> Gain:
        """What the factor may be on a box."""
        slopes = self.scale.largest_slope(raw), self.scale.largest_log_slope(raw)
        return Gain(self.scale.range_on(raw), *slopes)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = h.chunk(2, dim=1)
        gain, log = self.gain(raw)
        if self.order == "shift_first":
            return (x + shift) * gain, log
        return torch.addcmul(shift, x, gain), log

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = h.chunk(2, dim=1)
        gain, log = self.inverse_gain(raw)
        x = y * gain - shift if self.order == "shift_first" else (y - shift) * gain
        return x, log

    def gradients(
        self, x: Tensor, h: Tensor, by_y: Tensor, by_log: Tensor
    ) -> tuple[Tensor, Tensor]:
        raw, shift = h.chunk(2, dim=1)
        shift_first = self.order == "shift_first"
        by_x = by_y * self.gain(raw)[0]
        by_log_gain = torch.addcmul(by_log, by_x, x + shift if shift_first else x)
        by_raw = self.gradient_of_raw(raw, by_log_gain)
        return by_x, torch.cat([by_raw, by_x if shift_first else by_y], dim=1)

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """None: ``∂y₂/∂x₁ = x₂ g'(h₁) ∂h₁/∂x₁ + …`` grows with ``|x₂|``, whatever g is.

        Every scale map has bounds on a box only (arXiv 2006.09347, theorem on affine blocks).
        The one exception is a conditioner that is constant.
        """
        if conditioner_lipschitz > 0:
            return BiLipschitz(math.inf, math.inf)
        lower, upper = self.scale.lower, self.scale.upper
        return BiLipschitz(max(1.0, upper), max(1.0, 1 / lower) if lower > 0 else math.inf)

    def coupling_bounds_on(self, x: Box, h: Box, lipschitz: Lipschitz) -> BiLipschitz:
        """By :func:`scale_then_shift` or :func:`shift_then_scale`."""
        raw, shift, channels = *halves(h), len(x.lower)
        constants = lipschitz(slice(channels)), lipschitz(slice(channels, None))
        if self.order == "shift_first":
            return shift_then_scale(x, shift, self.gain_on(raw), *constants)
        return scale_then_shift(x, self.gain_on(raw), *constants)

    def image(self, x: Box, h: Box) -> Box:
        raw, shift = halves(h)
        values = self.gain_on(raw).values
        return (
            x.plus(shift).times(values)
            if self.order == "shift_first"
            else x.times(values).plus(shift)
        )

    def preimage(self, y: Box, h: Box) -> Box:
        raw, shift = halves(h)
        values = self.gain_on(raw).values
        reciprocal = Box(1 / values.upper, 1 / values.lower)
        if self.order == "shift_first":
            return y.times(reciprocal).plus(shift.negated())
        return y.plus(shift.negated()).times(reciprocal)


def halves(h: Box) -> tuple[Box, Box]:
    """Of scale and shift, in dimension 0, for a box has no batch."""
    (raw_lower, shift_lower), (raw_upper, shift_upper) = (end.chunk(2) for end in h)
    return Box(raw_lower, raw_upper), Box(shift_lower, shift_upper)


@entry(version=1)
def additive() -> Transformer:
    """Shift by h: bounded both ways by the conditioner."""
    return Additive()


@entry(version=1)
def affine(
    *,
    scale: Annotated[dict[str, Any], Nested("scale_map")] = "sigmoid",  # type: ignore[assignment]
    order: Order = "scale_first",
) -> Transformer:
    """Scale by g(h₁) and shift by h₂, in either order: no global bound."""
    return Affine(registry.build("scale_map", scale), order)
