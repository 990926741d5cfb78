"""The two functions of a reversible transformer: attention over tokens, and an mlp of each.

Both map ``(B, inputs, T) → (B, outputs, T)``, begin with a :class:`TokenEmbedding` and end with a
layer of zeros, and condition a coupling.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections import interval
from harness.bijections.attention.attention_bounds import attention_slopes
from harness.bijections.attention.token_embedding import TokenEmbedding, per_token
from harness.bijections.box import Box
from harness.bijections.coupling.networks import EVERYTHING, SILU_LIPSCHITZ, linear, norm
from harness.bijections.given import check_least
from harness.bijections.spectral import exact_norm


class Attention(nn.Module):
    """Dot-product attention of every token to all, with places, without a mask.

    Args:
        tokens: T.
        inputs: Features of a token.
        outputs: Features of a token of the output.
        width: Of an embedded token; a multiple of ``heads``.
        heads: Attention heads.
        generator: Draws the weights.
        epsilon: Of the normalisation.

    Raises:
        ValueError: ``width`` is not a multiple of ``heads``.
    """

    def __init__(
        self,
        tokens: int,
        inputs: int,
        outputs: int,
        *,
        width: int,
        heads: int,
        generator: torch.Generator,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        check_least("Attention", 1, outputs=outputs, width=width, heads=heads)
        if width % heads:
            message = f"Attention: width {width} must be a multiple of the number of heads, {heads}"
            raise ValueError(message)
        self.tokens, self.heads = tokens, heads
        self.embedding = TokenEmbedding(inputs, width, generator, tokens=tokens, epsilon=epsilon)
        self.queries = linear(width, width, generator)
        self.keys, self.values = linear(width, width, generator), linear(width, width, generator)
        # A bias of the keys cancels in the softmax, and one of the values adds to that of the end.
        self.keys.bias = self.values.bias = None  # type: ignore[assignment]
        self.end = _zero(linear(width, outputs, generator))

    def forward(self, x: Tensor) -> Tensor:
        given = self.embedding(x)
        queries, keys, values = (
            layer(given).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.queries, self.keys, self.values)
        )
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        found = (scores.softmax(3) @ values).transpose(1, 2).flatten(2)
        return self.end(found).transpose(1, 2)  # type: ignore[no-any-return]

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        """``‖W_end‖ · √(Σ_heads L²) · Lip(embedding)``, of some of the outputs (dimension 1).

        L is ``‖∂f/∂q‖ ‖W_q‖ + ‖∂f/∂k‖ ‖W_k‖ + ‖∂f/∂v‖ ‖W_v‖`` by :func:`attention_slopes`: unlike
        attention by itself, attention after a normalisation sees tokens of bounded length. It is
        large, for the normalisation's constant is ``1 / √ε``.
        """
        together = math.hypot(*map(self._of_head, range(self.heads)))  # a square may overflow
        bound = norm(self.end, outputs) * together * self.embedding.lipschitz()
        return bound if math.isfinite(bound) else math.inf

    def _of_head(self, head: int) -> float:
        """The Lipschitz bound of a head, in the normalised tokens u."""
        size = self.queries.out_features // self.heads
        rows, radius = slice(head * size, (head + 1) * size), self.embedding.longest
        query, key, value = (
            exact_norm(self.embedding.after(layer)[rows])
            for layer in (self.queries, self.keys, self.values)
        )
        weight, bias, shift = (
            one.detach().double()
            for one in (self.queries.weight, self.queries.bias, self.embedding.norm.bias)
        )
        longest = query * radius + float((weight @ shift + bias)[rows].norm())
        slopes = attention_slopes(self.tokens, size, longest, key * radius, value * radius)
        return slopes.queries * query + slopes.keys * key + slopes.values * value

    def image(self, box: Box) -> Box:
        """A box around the outputs: a mean of values lies between the least and the largest."""
        values = per_token(self.values, self.embedding.image(box))
        lower, upper = values.lower.amin(1, keepdim=True), values.upper.amax(1, keepdim=True)
        means = Box(lower.expand(-1, self.tokens), upper.expand(-1, self.tokens))
        return per_token(self.end, means)


class TokenMLP(nn.Module):
    """``W₂ SiLU(W₁ · + b₁) + b₂`` of each embedded token, ``4 · width`` wide within.

    Args:
        inputs: Features of a token.
        outputs: Features of a token of the output.
        width: Of an embedded token.
        generator: Draws the weights.
        epsilon: Of the normalisation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int,
        generator: torch.Generator,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        check_least("TokenMLP", 1, outputs=outputs, width=width)
        self.embedding = TokenEmbedding(inputs, width, generator, epsilon=epsilon)
        self.widen = linear(width, 4 * width, generator)
        self.end = _zero(linear(4 * width, outputs, generator))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(F.silu(self.widen(self.embedding(x)))).transpose(1, 2)  # type: ignore[no-any-return]

    def lipschitz(self, outputs: slice = EVERYTHING) -> float:
        """``‖W₂‖ Lip(SiLU) ‖W₁ diag(γ)‖ · Lip(embedding)``, of some of the outputs."""
        bound = norm(self.end, outputs) * SILU_LIPSCHITZ
        bound *= exact_norm(self.embedding.after(self.widen)) * self.embedding.lipschitz()
        return bound if math.isfinite(bound) else math.inf

    def image(self, box: Box) -> Box:
        """A box around the outputs, by interval bounds layer by layer."""
        inner = interval.silu(per_token(self.widen, self.embedding.image(box)))
        return per_token(self.end, inner)


def _zero(layer: nn.Linear) -> nn.Linear:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
