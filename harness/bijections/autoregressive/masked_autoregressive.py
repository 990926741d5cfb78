"""Masked autoregressive blocks: each element is transformed given those before it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.bijections.autoregressive import autoregressive_bounds, triangular
from harness.bijections.autoregressive.masked_network import MaskedNetwork
from harness.bijections.base import Bijection, BiLipschitz, Convergence, sum_per_sample
from harness.bijections.box import Box
from harness.bijections.transformers.elementwise import Transformer
from harness.bijections.transformers.volume_preserving import VolumePreserving


class MaskedAutoregressive(Bijection):
    """``y_i = T(x_i; t_i(x_j : j before i))``: MAF (arXiv 1705.07057), for vectors ``(B, D)``.

    The forward pass is one evaluation of the network. The inverse takes D passes, one for
    each element in turn: D evaluations of the network, one after the other. It is a closed form if
    T's is; else it reports T's convergence, the worst over the elements. Wrapped in
    :class:`~harness.bijections.inverse.Inverse` it is IAF (arXiv 1606.04934).

    Args:
        network: t; it knows the order.
        transformer: The elementwise map T.

    Raises:
        ValueError: The network has not as many outputs as T takes, or T is not elementwise; in a
            call, the input or the context has another shape, dtype or device.
    """

    def __init__(self, network: MaskedNetwork, transformer: Transformer) -> None:
        super().__init__()
        if network.parameters_per_element != transformer.parameters_per_element:
            message = (
                f"a masked autoregressive block's transformer takes "
                f"{transformer.parameters_per_element} parameters an element, and its network "
                f"gives {network.parameters_per_element}"
            )
            raise ValueError(message)
        if isinstance(transformer, VolumePreserving):
            message = (
                "a masked autoregressive block's transformer must treat each element by itself, "
                "which a volume-preserving one does not"
            )
            raise ValueError(message)
        self.network, self.transformer = network, transformer

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_derivative = self.transformer(x, self.network(x, context))
        return y, sum_per_sample(log_derivative)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det, _ = self._passes(y, context, self.transformer.inverse)
        return x, log_det

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        x, log_det, reports = self._passes(y, context, self.transformer.inverse_with_convergence)
        return x, log_det, Convergence.of_all(reports)

    def _passes(
        self, y: Tensor, context: Tensor | None, invert: Callable[..., tuple[Any, ...]]
    ) -> tuple[Tensor, Tensor, list[Convergence]]:
        """With how each element's inverse ended, where ``invert`` tells."""
        dimension, reports = len(self.network.position), []
        # What is not known yet stays 0, not a guess: a guess may overflow, and 0 · inf is NaN.
        x, log_det = torch.zeros_like(y), y.new_zeros(len(y))
        weights = self.network.weights()  # masked once, not in every pass
        for number in range(dimension):
            element = self.network.sequence[number : number + 1]
            h = self.network(x, context, weights).unflatten(1, (-1, dimension))[:, :, element]
            value, log_derivative, *report = invert(y[:, element], h.flatten(1))
            reports += report
            x = torch.where(self.network.position == number, value, x)
            log_det = log_det + log_derivative.squeeze(1)
        return x, log_det, reports

    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        return self.transformer.scales(x, self.network(x, context))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        """The best of what :mod:`~harness.bijections.autoregressive.triangular` proves.

        Global: with additive shifts only, from the network's Lipschitz constant and from its
        sensitivity entry by entry; with another transformer, from its coupling's global bounds,
        of which an affine one has none. On a box: from the coupling's bounds there, and entry by
        entry; with a context, for every context.
        """
        lipschitz, dimension = self.network.lipschitz, len(self.network.position)
        x = box
        h = None if box is None else self.network.image(box)
        if x is None or h is None:
            coupling = self.transformer.coupling_bounds(lipschitz())
        else:
            coupling = self.transformer.coupling_bounds_on(x, h, lipschitz)
        if lipschitz() == 0:  # nothing below the diagonal, which the coupling's bounds hold for
            return coupling
        found = [triangular.by_coupling(coupling, dimension)]
        entries = autoregressive_bounds.entries(self.transformer, x, h, self.network.sensitivity())
        if entries is not None:
            ordered = entries.in_order(self.network.sequence)
            found.append(triangular.by_entries(*ordered))
        if autoregressive_bounds.only_shifts(self.transformer):
            found.append(triangular.by_shift(lipschitz(), dimension))
        return triangular.smallest(*found)

    def image(self, box: Box) -> Box | None:
        return _known(self.transformer.image(box, self.network.image(box)))

    def preimage(self, box: Box) -> Box | None:
        """A box around ``F⁻¹(y)`` for every y in the box: the inverse's passes, on intervals."""
        x = Box(torch.zeros_like(box.lower), torch.zeros_like(box.upper))
        for number in range(len(box.lower)):
            found = self.transformer.preimage(box, self.network.image(x))
            if found is None:
                return None
            now = self.network.position == number
            x = Box(*(torch.where(now, new, old) for new, old in zip(found, x, strict=True)))
        return _known(x)


def _known(box: Box | None) -> Box | None:
    return box if box is not None and all(end.isfinite().all() for end in box) else None
