"""Tokens, embedded and normalised: how the functions of a reversible transformer begin."""

import math

import torch
from torch import Tensor, nn

from harness.bijections.box import Box
from harness.bijections.coupling.networks import linear
from harness.bijections.given import check_alike, check_least, shown
from harness.bijections.spectral import exact_norm


class TokenEmbedding(nn.Module):
    """``γ u + β`` with ``u = (h - mean h) / √(var h + ε)`` and ``h_t = E x_t + b [+ p_t]``.

    ``(B, F, T) → (B, T, width)``: LayerNorm (arXiv 1607.06450) of a linear embedding, plus a
    learned embedding of the place if the token's place should matter.

    Args:
        features: F, of a token.
        width: Of an embedded token.
        generator: Draws the weights.
        tokens: T, for an embedding of places.
        epsilon: ε.

    Raises:
        ValueError: ε is not positive, so the normalisation has no Lipschitz constant.
    """

    def __init__(
        self,
        features: int,
        width: int,
        generator: torch.Generator,
        *,
        tokens: int | None = None,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        some = 1 if tokens is None else tokens
        check_least("TokenEmbedding", 1, features=features, width=width, tokens=some)
        if not epsilon > 0:
            raise ValueError(f"TokenEmbedding: epsilon must be positive, not {epsilon}")
        self.linear = linear(features, width, generator)
        self.places: nn.Parameter | None = None
        if tokens is not None:
            self.places = nn.Parameter(0.02 * torch.randn(tokens, width, generator=generator))
        self.norm = nn.LayerNorm(width, eps=epsilon)

    @property
    def longest(self) -> float:
        """``‖u‖ ≤ √width``."""
        return math.sqrt(self.linear.out_features)

    def forward(self, x: Tensor) -> Tensor:
        features = self.linear.in_features
        tokens = "tokens" if self.places is None else len(self.places)
        if x.ndim != 3 or x.shape[1] != features or tokens not in ("tokens", x.shape[2]):
            wanted = shown((features, tokens))
            raise ValueError(f"TokenEmbedding: the input must be {wanted}, not {tuple(x.shape)}")
        check_alike("TokenEmbedding", x, self.linear.weight)
        hidden: Tensor = self.linear(x.transpose(1, 2))
        if self.places is not None:
            hidden = hidden + self.places
        return self.norm(hidden)  # type: ignore[no-any-return]

    def lipschitz(self) -> float:
        """``‖E‖ / √ε``, of u.

        ``J_u = (I - 11ᵀ/w - uuᵀ/w) / √(var h + ε)``: a matrix between 0 and I, for u is
        orthogonal to 1 and ``‖u‖² ≤ w``. Reached where h does not vary at all.
        """
        return exact_norm(self.linear.weight) / math.sqrt(self.norm.eps)

    def after(self, layer: nn.Linear) -> Tensor:
        """``W diag(γ)``: a linear layer on the output, as one on u; float64."""
        return (layer.weight.detach() * self.norm.weight.detach()).double()

    def image(self, box: Box) -> Box:
        """A box around the outputs, ``(F, T) → (width, T)``, by intervals."""
        hidden = per_token(self.linear, box)
        if self.places is not None:
            hidden = _moved(hidden, self.places.detach().mT)
        width = len(hidden.lower)
        identity = torch.eye(width, dtype=hidden.lower.dtype, device=hidden.lower.device)
        centred = hidden.linear(identity - 1 / width)
        nearest = torch.maximum(centred.lower, -centred.upper).clamp_min(0)
        most, least = ((end**2).mean(0) for end in (centred.largest, nearest))
        factor = Box(*((variance + self.norm.eps).rsqrt() for variance in (most, least)))
        normal = centred.times(factor)
        # Σ u = 0 and Σ u² ≤ w leave u_i² ≤ w - 1.
        limit = math.sqrt(width - 1)
        normal = Box(*(end.clamp(-limit, limit) for end in normal))
        gain = self.norm.weight.detach().to(normal.lower.dtype)[:, None]
        return _moved(normal.times(Box(gain, gain)), self.norm.bias.detach()[:, None])


def per_token(layer: nn.Linear, box: Box) -> Box:
    """All ``W x_t + b``, ``(F, T) → (outputs, T)``."""
    found = box.linear(layer.weight)
    return found if layer.bias is None else _moved(found, layer.bias.detach()[:, None])


def _moved(box: Box, by: Tensor) -> Box:
    by = by.to(box.lower.dtype)
    return Box(box.lower + by, box.upper + by)
