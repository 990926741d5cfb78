"""A bijection run backwards."""

import math

from torch import Tensor

from harness.bijections.autoregressive.masked_autoregressive import MaskedAutoregressive
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box


class Inverse(Bijection):
    """``y = F⁻¹(x)``; of a masked autoregressive F it is IAF (arXiv 1606.04934).

    Each direction costs what F's other direction costs. F's inverse must be a closed form, for a
    forward pass reports no convergence. F is not initialised from data: its own step would
    normalise what is here the input.

    Args:
        bijection: F.

    Raises:
        ValueError: F is masked autoregressive with a transformer whose inverse iterates.
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        if isinstance(bijection, MaskedAutoregressive) and not bijection.transformer.closed_form:
            name = type(bijection.transformer).__name__
            message = (
                "an inverse autoregressive block's transformer must have a closed-form inverse, "
                f"for its forward pass reports no convergence, and {name} has not"
            )
            raise ValueError(message)
        self.bijection = bijection
        self.is_affine = bijection.is_affine

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection(y, context)  # type: ignore[no-any-return]

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """F's, exchanged: ``J_{F⁻¹}(x) = J_F(F⁻¹(x))⁻¹``.

        On a box they are F's on a box around its preimage, where one is known.
        """
        found = self.bijection.bounds()
        if box is not None and math.inf in found:
            preimage = self.image(box)
            found = found if preimage is None else self.bijection.bounds(preimage)
        return BiLipschitz(found.inverse, found.forward)

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        found = self.bijection.scales(self.bijection.inverse(x, context)[0], context)
        return None if found is None else found.reciprocal()

    def image(self, box: Box) -> Box | None:
        if isinstance(self.bijection, MaskedAutoregressive):
            return self.bijection.preimage(box)
        return None
