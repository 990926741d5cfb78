"""A transformer that sees what comes before, never what comes after."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.bijections.coupling.networks import linear
from harness.bijections.given import check_least


class Memory(NamedTuple):
    """Keys and values of the tokens so far, each ``(B, heads, tokens, width / heads)``."""

    keys: Tensor
    values: Tensor


class CausalLayer(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``, without dropout.

    Normalisation comes first; the mlp is ``W₂ GELU(W₁ x)``, four times as wide within.

    Args:
        width: Size of a token; a multiple of ``heads``.
        heads: Attention heads.
        generator: Draws the weights.
    """

    def __init__(self, width: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        check_least("CausalLayer", 1, width=width, heads=heads)
        if width % heads:
            message = f"a causal layer's width {width} must be a multiple of its heads {heads}"
            raise ValueError(message)
        self.heads = heads
        self.norm_of_attention, self.norm_of_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.answer = linear(width, 3 * width, generator), linear(width, width, generator)
        # A bias of the keys cancels in the softmax: its gradient is rounding, of which Adam makes
        # steps of full size. So there is none here.
        self.ask.bias = None  # type: ignore[assignment]
        self.widen = linear(width, 4 * width, generator)
        self.narrow = linear(4 * width, width, generator)

    def forward(self, x: Tensor, past: Memory | None = None) -> tuple[Tensor, Memory]:
        """Tokens ``(B, N, width)`` to tokens, and what later tokens need of them.

        Args:
            x: All tokens from the first on; with a ``past``, the one token that comes next.
            past: Of the tokens before.
        """
        x, memory = self.attend(x, past)
        return x + self.mlp(x), memory

    def mlp(self, x: Tensor) -> Tensor:
        """The branch of the perceptron."""
        narrowed: Tensor = self.narrow(F.gelu(self.widen(self.norm_of_mlp(x))))
        return narrowed

    def attend(self, x: Tensor, past: Memory | None = None) -> tuple[Tensor, Memory]:
        """Up to the attention's skip connection."""
        asked = self.ask(self.norm_of_attention(x)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = asked.transpose(1, 3).unbind(2)
        if past is not None:
            keys = torch.cat([past.keys, keys], dim=2)
            values = torch.cat([past.values, values], dim=2)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        if past is None:
            later = torch.ones(scores.shape[2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        x = x + self.answer((scores.softmax(3) @ values).transpose(1, 2).flatten(2))
        return x, Memory(keys, values)


class CausalTransformer(nn.Module):
    """``h_t = t(x_1, …, x_{t-1})`` for each token of a sequence, ``(B, T, F) → (B, T, outputs)``.

    Each token's place begins with the embedding of the token before it, the first with a learned
    start, plus a learned embedding of the place; the last layer is zero at the start.

    Args:
        tokens: T.
        features: F, of a token.
        outputs: Of a token.
        width: Size of a token within; a multiple of ``heads``.
        heads: Attention heads.
        layers: At least 1.
        generator: Draws the weights.

    Raises:
        ValueError: A number below 1, or ``heads`` that do not divide the width.
    """

    def __init__(
        self,
        tokens: int,
        features: int,
        outputs: int,
        *,
        width: int,
        heads: int,
        layers: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        name = "CausalTransformer"
        check_least(name, 1, tokens=tokens, features=features, outputs=outputs)
        check_least(name, 1, width=width, heads=heads, layers=layers)
        self.embedding = linear(features, width, generator)
        self.start = nn.Parameter(torch.zeros(width))
        self.places = nn.Parameter(0.02 * torch.randn(tokens, width, generator=generator))
        self.layers = nn.ModuleList(CausalLayer(width, heads, generator) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.last = linear(width, outputs, generator)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """All tokens at once."""
        hidden = self.embedded(x)
        for layer in self.layers:
            hidden, _ = layer(hidden)
        return self.last(self.norm(hidden))  # type: ignore[no-any-return]

    def embedded(self, x: Tensor) -> Tensor:
        """What the first layer is given."""
        before = self.embedding(x[:, :-1])
        return torch.cat([self._start(len(x)), before], dim=1) + self.places

    def _start(self, batch: int) -> Tensor:
        return self.start.expand(batch, 1, -1)

    def first(self, batch: int) -> tuple[Tensor, list[Memory]]:
        """``h_1``, the same for all, ``(B, outputs)``, and what :meth:`following` needs."""
        return self._step(self._start(batch), 0, [None] * len(self.layers))

    def following(
        self, x: Tensor, number: int, memories: list[Memory]
    ) -> tuple[Tensor, list[Memory]]:
        """``h`` of token ``number`` (from 0), given the token before it, ``(B, F)``."""
        return self._step(self.embedding(x).unsqueeze(1), number, memories)

    def _step(
        self, hidden: Tensor, number: int, memories: "list[Memory] | list[None]"
    ) -> tuple[Tensor, list[Memory]]:
        hidden, now = hidden + self.places[number], []
        for layer, past in zip(self.layers, memories, strict=True):
            hidden, memory = layer(hidden, past)
            now.append(memory)
        return self.last(self.norm(hidden)).squeeze(1), now
