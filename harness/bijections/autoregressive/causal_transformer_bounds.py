"""How far a causal transformer moves when its inputs do: layer by layer, around a centre.

Each token of the residual stream is known to lie in a ball around what the layers make of the
centre, and how fast it moves with the inputs is a rate. A layer's constants on balls hold for all
inputs in them, for balls are convex. Shapes: N tokens of width w.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from harness.bijections.autoregressive.causal_transformer import CausalLayer, CausalTransformer
from harness.bijections.box import Box
from harness.bijections.coupling.coupling_bounds import Lipschitz
from harness.bijections.spectral import exact_norm

GELU_LIPSCHITZ = 1.12890414519
"""``max |d/dx x Φ(x)|``, at x = √2, rounded up."""


class Tokens(NamedTuple):
    """Where tokens may be, and how they move.

    Attributes:
        centre: Shape ``(N, w)``, float64.
        radius: ``‖x_i - centre_i‖₂`` at most, shape ``(N,)``.
        rate: ``‖dx_i‖₂`` at most where the inputs move by a length of 1, shape ``(N,)``.
        longest: ``‖x_i‖₂`` at most.
    """

    centre: Tensor
    radius: Tensor
    rate: Tensor
    longest: float = math.inf

    def plus(self, branch: "Tokens") -> "Tokens":
        """A skip connection."""
        centre = self.centre + branch.centre
        return Tokens(centre, self.radius + branch.radius, self.rate + branch.rate)

    def by(self, centre: Tensor, moved: Callable[[Tensor], Tensor]) -> "Tokens":
        """What a map makes of them that moves no more than that, given how far each moves."""
        return Tokens(centre, moved(self.radius), moved(self.rate))

    def largest(self, weight: Tensor) -> Tensor:
        """``‖W x_i‖₂`` at most, shape ``(N,)``."""
        norm = exact_norm(weight)
        near: Tensor = torch.linalg.vector_norm(self.centre @ weight.T, dim=1)
        return torch.fmin(near + norm * self.radius, near.new_tensor(norm * self.longest))


def normalised(norm: nn.LayerNorm, tokens: Tokens) -> Tokens:
    """``γ x̂ + β`` with ``x̂ = P x / √(‖P x‖² / w + ε)``, P the projection onto sum zero.

    ``∂x̂/∂x = (P - x̂ x̂ᵀ / w) / √(…)``, so the constant is ``max |γ| / √(…)``; and
    ``‖P x_i‖ ≥ ‖P c_i‖ - radius``. As ``‖x̂‖ < √w``, the result is in a ball wherever x is.
    """
    width, gain = tokens.centre.shape[1], float(norm.weight.abs().max())
    off_mean = tokens.centre - tokens.centre.mean(1, keepdim=True)
    away = torch.linalg.vector_norm(off_mean, dim=1)
    least = (away - tokens.radius).clamp_min(0)
    lipschitz = gain / (least**2 / width + norm.eps).sqrt()
    longest = gain * math.sqrt(width)
    return Tokens(
        norm(tokens.centre),
        torch.fmin(lipschitz * tokens.radius, away.new_tensor(2 * longest)),
        lipschitz * tokens.rate,
        longest + float(torch.linalg.vector_norm(norm.bias)),
    )


def attention(layer: CausalLayer, tokens: Tokens) -> Callable[[Tensor], Tensor]:
    """How far attention to normalised tokens moves each, given how far they move.

    With ``o_i = Σ_{j≤i} P_ij v_j`` and P_i the softmax of ``q_i · k_j / √d``, whose derivative is a
    covariance under P_i, ``do_i = E[dv] + Cov(v, k) dq_i / √d + Cov(v, q_i · dk) / √d``, as in
    arXiv 2006.04710, where no norm is bounded. With the largest of what comes no later than i,
    ``‖do_i‖ ≤ ‖dv‖ + ‖v‖ (‖k‖ ‖dq_i‖ + ‖q_i‖ ‖dk‖) / √d``. Heads stand beside each other.
    """
    kinds = layer.ask.weight.unflatten(0, (3, layer.heads, -1))  # type: ignore[no-untyped-call]
    heads = []
    for weights in zip(*kinds, strict=True):
        q, k, v = map(tokens.largest, weights)
        heads.append((list(map(exact_norm, weights)), (q, _largest_so_far(k), _largest_so_far(v))))
    joined, root = exact_norm(layer.answer.weight), math.sqrt(kinds.shape[2])

    def moved(lengths: Tensor) -> Tensor:
        squares, earlier = torch.zeros_like(lengths), _largest_so_far(lengths)
        for (norm_q, norm_k, norm_v), (q, k, v) in heads:
            crossed = v * (k * norm_q * lengths + q * norm_k * earlier) / root
            squares = squares + (norm_v * earlier + crossed) ** 2
        return joined * squares.sqrt()

    return moved


def perceptron(layer: CausalLayer) -> Callable[[Tensor], Tensor]:
    """How far the layer's perceptron moves each token, likewise: ``‖W₂‖ Lip(GELU) ‖W₁‖`` times."""
    factor = exact_norm(layer.narrow.weight) * GELU_LIPSCHITZ * exact_norm(layer.widen.weight)
    return lambda lengths: factor * lengths


def _largest_so_far(values: Tensor) -> Tensor:
    return values.cummax(0).values


@torch.no_grad()
def outputs_on(network: CausalTransformer, x: Box | None) -> tuple[Box, Lipschitz]:
    """A box around the outputs ``(outputs, T)``, and the Lipschitz constant of some of them.

    Args:
        network: Its weights.
        x: Around the inputs, ``(F, T)``; ``None`` for all there are.
    """
    network = copy.deepcopy(network).double()
    if x is None:
        shape = network.embedding.in_features, len(network.places)
        far = network.places.new_full(shape, math.inf)
        centre, spread = torch.zeros_like(far), far
    else:
        centre, spread = (x.lower + x.upper) / 2, (x.upper - x.lower) / 2
    norm = exact_norm(network.embedding.weight)
    # The first token is the same for all inputs, and each other is embedded from the one before.
    before = torch.linalg.vector_norm(spread[:, :-1], dim=0)
    radius = torch.cat([torch.zeros_like(before[:1]), norm * before])
    rate = torch.cat([torch.zeros_like(before[:1]), torch.full_like(before, norm)])
    stream = Tokens(network.embedded(centre.T.unsqueeze(0)).squeeze(0), radius, rate)
    for layer in cast(Sequence[CausalLayer], network.layers):
        middle = layer.attend(stream.centre.unsqueeze(0))[0].squeeze(0)
        normal = normalised(layer.norm_of_attention, stream)
        stream = stream.plus(normal.by(middle - stream.centre, attention(layer, normal)))
        normal = normalised(layer.norm_of_mlp, stream)
        stream = stream.plus(normal.by(layer.mlp(stream.centre), perceptron(layer)))
    normal = normalised(network.norm, stream)
    last = network.last.weight
    whole = float(torch.linalg.vector_norm(normal.rate))

    def lipschitz(outputs: slice) -> float:
        bound = exact_norm(last[outputs]) * whole
        return math.inf if math.isnan(bound) else bound

    values = network.last(normal.centre).T
    reach = torch.linalg.vector_norm(last, dim=1).unsqueeze(1) * normal.radius
    return Box(values - reach, values + reach), lipschitz
