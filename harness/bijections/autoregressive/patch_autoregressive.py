"""Autoregression over a sequence of patches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.bijections.autoregressive import triangular
from harness.bijections.autoregressive.causal_transformer import CausalTransformer
from harness.bijections.autoregressive.causal_transformer_bounds import outputs_on
from harness.bijections.base import Bijection, BiLipschitz, Convergence, sum_per_sample
from harness.bijections.box import Box
from harness.bijections.given import check_alike, check_shape
from harness.bijections.transformers.elementwise import Transformer


class PatchAutoregressive(Bijection):
    """``y_t = T(x_t; t(x_1, …, x_{t-1}))`` for patches ``(B, F, T)``: TarFlow (arXiv 2412.06329).

    All entries of a patch are transformed given the patches before it, by a causal transformer.
    The first patch gets learned constants, where TarFlow leaves it as it is. The forward pass is
    one evaluation of the network. The inverse takes T passes, each of one patch, with the keys and
    values of the patches before it kept; it is a closed form if the transformer's is.

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
        x, log_det, _ = self._passes(y, self.transformer.inverse)
        return x, log_det

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        x, log_det, reports = self._passes(y, self.transformer.inverse_with_convergence)
        return x, log_det, Convergence.of_all(reports)

    def _passes(
        self, y: Tensor, invert: Callable[..., tuple[Any, ...]]
    ) -> tuple[Tensor, Tensor, list[Convergence]]:
        """With how each patch's inverse ended, where ``invert`` tells."""
        self._check(y)
        first, *rest = self._in_order(y).unbind(2)
        h, memories = self.network.first(len(y))
        x, log_derivative, *reports = invert(first, h)
        patches, log_det = [x], sum_per_sample(log_derivative)
        for number, patch in enumerate(rest, start=1):
            h, memories = self.network.following(x, number, memories)
            x, log_derivative, *report = invert(patch, h)
            reports += report
            patches.append(x)
            log_det = log_det + sum_per_sample(log_derivative)
        return self._in_order(torch.stack(patches, dim=2)), log_det, reports

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        self._check(x)
        x = self._in_order(x)
        found = self.transformer.scales(x, self.network(x.transpose(1, 2)).transpose(1, 2))
        return None if found is None else found.flatten(1)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """By :func:`by_coupling`, of T patches in turn.

        Dot-product attention has no Lipschitz constant (arXiv 2006.04710), but that of normalised
        tokens has, for they are bounded (:mod:`causal_transformer_bounds`). So
        the network has one everywhere, and a smaller one on a box.
        """
        within = None if box is None else box.each(self._in_order)
        h, lipschitz = outputs_on(self.network, within)
        if within is None:
            coupling = self.transformer.coupling_bounds(lipschitz(slice(None)))
        else:
            coupling = self.transformer.coupling_bounds_on(within, h, lipschitz)
        if lipschitz(slice(None)) == 0:  # nothing below the diagonal, which these hold for
            return coupling
        return triangular.by_coupling(coupling, len(self.network.places))

    def image(self, box: Box) -> Box | None:
        within = box.each(self._in_order)
        found = self.transformer.image(within, outputs_on(self.network, within)[0])
        if found is None or not all(end.isfinite().all() for end in found):
            return None
        return found.each(self._in_order)
