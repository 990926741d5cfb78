"""Autoregression over a sequence of patches."""

import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz, sum_per_sample
from harness.bijections.box import Box
from harness.bijections.causal_transformer import CausalTransformer
from harness.bijections.given import check_alike, check_shape
from harness.bijections.transformers import Transformer


class PatchAutoregressive(Bijection):
    """``y_t = T(x_t; t(x_1, …, x_{t-1}))`` for patches ``(B, F, T)``: TarFlow (arXiv 2412.06329).

    All entries of a patch are transformed given the patches before it, by a causal transformer.
    The first patch gets learned constants, where TarFlow leaves it as it is. The forward pass is
    one evaluation of the network. The inverse is a closed form in T passes, each of one patch,
    with the keys and values of the patches before it kept.

    Args:
        network: t.
        transformer: The elementwise map T.
        reverse: From the last patch to the first.

    Raises:
        ValueError: In a call, the input has another shape, dtype or device.
    """

    def __init__(
        self, network: CausalTransformer, transformer: Transformer, *, reverse: bool = False
    ) -> None:
        super().__init__()
        self.network, self.transformer, self.reverse = network, transformer, reverse

    def _in_order(self, x: Tensor) -> Tensor:
        return x.flip(2) if self.reverse else x

    def _check(self, x: Tensor) -> None:
        embedding = self.network.embedding
        check_shape("PatchAutoregressive", x, (embedding.in_features, len(self.network.places)))
        check_alike("PatchAutoregressive", x, embedding.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(x)
        x = self._in_order(x)
        y, log_derivative = self.transformer(x, self.network(x.transpose(1, 2)).transpose(1, 2))
        return self._in_order(y), sum_per_sample(log_derivative)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(y)
        first, *rest = self._in_order(y).unbind(2)
        h, memories = self.network.first(len(y))
        x, log_derivative = self.transformer.inverse(first, h)
        patches, log_det = [x], sum_per_sample(log_derivative)
        for number, patch in enumerate(rest, start=1):
            h, memories = self.network.following(x, number, memories)
            x, log_derivative = self.transformer.inverse(patch, h)
            patches.append(x)
            log_det = log_det + sum_per_sample(log_derivative)
        return self._in_order(torch.stack(patches, dim=2)), log_det

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """None: dot-product attention is not Lipschitz (arXiv 2006.04710).

        Normalised first, as here, it is, but by a constant of the order of the normalisation's
        ``1 / √ε`` for each layer, which tells nothing; on a box too.
        """
        return BiLipschitz(math.inf, math.inf)
