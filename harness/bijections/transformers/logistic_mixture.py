"""The distribution function of a mixture of logistics, in logits: without parameters of its own.

Ho, Chen, Srinivas, Duan & Abbeel 2019 (Flow++), arXiv 1902.00275. Shapes: ``K`` components along
dimension 1, before the dimensions of what is transformed.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Mixture(NamedTuple):
    """``F(x) = Σ_k π_k σ((x - μ_k) / s_k)``.

    Attributes:
        log_weights: ``log π``, shape ``(B, K, …)``; their exponentials sum to 1.
        means: ``μ``, likewise.
        log_scales: ``log s``, likewise.
    """

    log_weights: Tensor
    means: Tensor
    log_scales: Tensor

    def logit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``T(x) = log F(x) - log(1 - F(x))`` and ``log T'(x)``, both of x's shape ``(B, …)``.

        F and 1 - F are each summed in logarithms, so that neither tail rounds to 0 or 1:
        ``T' = f / (F (1-F))`` with the density ``f = Σ π_k σ(z_k) σ(-z_k) / s_k``.
        """
        z = (x.unsqueeze(1) - self.means) * (-self.log_scales).exp()
        below, above = F.logsigmoid(z), F.logsigmoid(-z)
        log_below = torch.logsumexp(self.log_weights + below, dim=1)
        log_above = torch.logsumexp(self.log_weights + above, dim=1)
        density = torch.logsumexp(self.log_weights + below + above - self.log_scales, dim=1)
        return log_below - log_above, density - log_below - log_above

    def bracket(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of an interval that holds the x with ``T(x) = t``.

        F(x) is a mean of the ``σ(z_k)``, so T(x) is between the least and the greatest ``z_k``:
        x is between the least and the greatest ``μ_k + s_k t``.
        """
        ends = self.means + self.log_scales.exp() * t.unsqueeze(1)
        return ends.amin(1), ends.amax(1)
