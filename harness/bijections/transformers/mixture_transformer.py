"""A mixture of logistics as a coupling's transformer."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from harness.bijections.base import BiLipschitz, Convergence
from harness.bijections.box import Box
from harness.bijections.given import check_least
from harness.bijections.transformers.bisection import bisection
from harness.bijections.transformers.elementwise import Transformer
from harness.bijections.transformers.elementwise_bounds import Derivatives, intersection
from harness.bijections.transformers.logistic_mixture import Mixture
from harness.bijections.transformers.mixture_bounds import MixtureOnBox, bracket
from harness.registry import entry

SPREAD = 2.0
"""Components start with means in [-SPREAD, SPREAD]: alike, they would have the same gradients."""


class MixtureOfLogistics(Transformer):
    """``y = T(x) exp(a) + b`` with ``T(x) = logit Σ_k π_k σ((x - μ_k) / s_k)`` (arXiv 1902.00275).

    Of ``3K + 2`` parameters an element, the first two are a and b, then K logits of π, K means
    less where they start, and K log-scales. The inverse bisects, and reports how that ended.

    Args:
        components: K, at least 1.

    Raises:
        ValueError: ``components`` is below 1.
    """

    closed_form = False

    def __init__(self, components: int) -> None:
        super().__init__()
        check_least("MixtureOfLogistics", 1, components=components)
        self.components, self.parameters_per_element = components, 3 * components + 2

    def _unpacked(self, h: Tensor) -> tuple[Tensor, Tensor, Mixture]:
        count = self.parameters_per_element
        each = h.reshape(len(h), count, h.shape[1] // count, *h.shape[2:])
        affine, weights, means, log_scales = torch.split(each, [2, *[self.components] * 3], dim=1)
        means = means + self._start(each, each.ndim - 1)
        log_scale, shift = affine.unbind(1)
        return log_scale, shift, Mixture(F.log_softmax(weights, dim=1), means, log_scales)

    def _start(self, like: Tensor, dimensions: int) -> Tensor:
        """Where the means start, to be added to ``(K, …)`` of so many dimensions."""
        ends = SPREAD if self.components > 1 else 0.0
        start = torch.linspace(-ends, ends, self.components, dtype=like.dtype, device=like.device)
        return start.view(-1, *[1] * (dimensions - 1))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift, mixture = self._unpacked(h)
        value, log_slope = mixture.logit(x)
        return torch.addcmul(shift, value, log_scale.exp()), log_slope + log_scale

    def inverse_with_convergence(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Convergence]:
        log_scale, shift, mixture = self._unpacked(h)
        target = (y - shift) * (-log_scale).exp()
        with torch.no_grad():
            bracket = mixture.bracket(target)
            x, report = bisection(lambda x: mixture.logit(x)[0], *bracket, target)
        if torch.is_grad_enabled():
            # Implicit function theorem: x moves by (dt - dT) / T'. The residual t - T carries that
            # derivative; its value is taken out.
            value, log_slope = mixture.logit(x)
            steepness = (-log_slope.detach()).exp()
            residual = target - value
            x = x + (residual - residual.detach()) * steepness
        _, log_slope = mixture.logit(x)
        return x, -log_slope - log_scale, report

    def coupling_bounds(self, conditioner_lipschitz: float) -> BiLipschitz:
        """None, as of an affine coupling: ``∂y/∂a = y - b`` grows with ``|x|``, whatever T is.

        Nor does a constant conditioner help, for its scale ``exp(a)`` and its ``s_k`` may be
        anything. What is bounded: ``T' ≤ max 1/s_k``, for ``E[σ (1-σ)] ≤ E[σ] (1 - E[σ])``. Not
        from below: between components far apart the numerator vanishes, as their distance in
        scales grows, and the denominator does not.
        """
        return BiLipschitz(math.inf, math.inf)

    def _boxes(self, h: Box) -> tuple[Box, Box, Box]:
        """Of a and b, of the means and of the log-scales."""
        count, channels = self.parameters_per_element, h.lower.shape[0]
        each = h.each(lambda end: end.reshape(1, count, channels // count, *end.shape[2:]))
        start = self._start(each.lower, each.lower.ndim)
        kinds = [torch.split(end, [2, *[self.components] * 3]) for end in each]
        affine, _, means, log_scales = (Box(*ends) for ends in zip(*kinds, strict=True))
        return affine, means.increasing(lambda end: end + start), log_scales

    def derivatives(self, x: Box, h: Box) -> Derivatives:
        """Finite on every box, see :class:`MixtureOnBox`."""
        return MixtureOnBox(x, *self._boxes(h)).derivatives()

    def image(self, x: Box, h: Box) -> Box:
        within = MixtureOnBox(x, *self._boxes(h))
        return intersection(within.image(), within.derivatives().image(self.forward, x, h))

    def preimage(self, y: Box, h: Box) -> Box:
        affine, means, log_scales = self._boxes(h)
        log_scale, shift = (Box(*(end[number] for end in affine)) for number in (0, 1))
        gain = Box((-log_scale.upper).exp(), (-log_scale.lower).exp())
        target = y.plus(shift.negated()).times(gain)
        return bracket(target, means, log_scales)


@entry(version=1)
def mixture_of_logistics(
    *,
    components: Annotated[int, Field(ge=1, le=256)] = 8,
) -> Transformer:
    """Logit of a mixture of logistics, then scale and shift (Flow++): no global bound."""
    return MixtureOfLogistics(components)
