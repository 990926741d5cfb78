"""There and back through a network, layer by layer. ``B`` inputs, ``L`` layers."""

from typing import NamedTuple

import torch
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.bijections.path import layers
from harness.probes.summary import per_sample_norm


class Walk(NamedTuple):
    """A forward pass and its way back in one precision, each ``(B, L)``.

    There ``a_0 = x`` and ``a_{k+1} = F_k(a_k)``, back ``b_L = a_L`` and ``b_k = F_k⁻¹(b_{k+1})``.

    Attributes:
        size: ``‖a_k‖₂``.
        finite: Whether every entry of ``a_{k+1}`` is.
        round_trip: ``‖F_k⁻¹(a_{k+1}) - a_k‖₂``.
        round_trip_converged: Whether that inverse did, if it iterates; true where it is lost.
        accumulated: ``‖b_k - a_k‖₂``.
        accumulated_converged: Whether the inverses of layer k and of all behind it did, likewise.
    """

    size: Tensor
    finite: Tensor
    round_trip: Tensor
    round_trip_converged: Tensor
    accumulated: Tensor
    accumulated_converged: Tensor


@torch.no_grad()
def there_and_back(network: Bijection, x: Tensor) -> Walk:
    """Cost: a forward pass, and two inverses of each layer."""
    path = [layer.bijection for layer in layers(network)]
    given, size, finite, own, own_converged = [x], [], [], [], []
    for block in path:
        a = given[-1]
        y, _ = block(a)
        back, _, report = block.inverse_with_convergence(y)
        given.append(y)
        size.append(per_sample_norm(a))
        finite.append(_finite(y))
        own.append(per_sample_norm(back - a))
        own_converged.append(_ended(report, back))
    accumulated, converged = [], []
    y, ended = given.pop(), torch.ones(len(x), dtype=torch.bool, device=x.device)
    for block in reversed(path):
        y, _, report = block.inverse_with_convergence(y)
        ended = ended & _ended(report, y)
        accumulated.append(per_sample_norm(y - given.pop()))
        converged.append(ended)
    return Walk(
        *(torch.stack(one, 1) for one in (size, finite, own, own_converged)),
        *(torch.stack(one[::-1], 1) for one in (accumulated, converged)),
    )


def _finite(x: Tensor) -> Tensor:
    return x.flatten(1).isfinite().all(1)


def _ended(report: Convergence, back: Tensor) -> Tensor:
    return report.converged | ~_finite(back)
