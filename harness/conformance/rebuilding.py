"""Do gradients through rebuilt activations equal autograd's?"""

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from harness.backpropagation.rebuilding import guarded, memory_saving
from harness.backpropagation.refusal import CannotRebuildError
from harness.bijections.base import Bijection
from harness.conformance.inverse import rounding
from harness.conformance.jacobians import linearise
from harness.conformance.row import Row

TOLERANCE = 1e-10
EVERY = 3
WAYS: dict[str, Callable[[Bijection], Bijection]] = {
    "memory-saving": memory_saving,
    "guarded": lambda flow: guarded(flow, every=EVERY),
}


def gradients_of_rebuilding(flow: Bijection, x: Tensor) -> list[Row]:
    """Of memory-saving and of guarded backpropagation, by parameters and input, in training mode.

    The loss is of value and log-det. It may be off by 1e-10 of the largest entry or of 1, and
    without a guard by what the inverse's rounding is amplified to; where the inverse says itself
    that it did not converge, it is only told.
    """
    flow = copy.deepcopy(flow).train()
    local = linearise(flow, x)
    with torch.no_grad():
        _, _, report = flow.inverse_with_convergence(local.y)
    slack = float(rounding(local, x.dtype).max()) if report.converged.all() else math.inf
    expected = _gradients(flow, x)
    rows = []
    for name, wrap in WAYS.items():
        check = f"{name} gradient"
        try:
            found = _gradients(wrap(flow), x)
        except CannotRebuildError as error:
            rows.append(Row.at_most(check, 0.0, math.inf, str(error)))
            continue
        apart = {
            of: float((found[of] - one).abs().max() / (1 + one.abs().max()))
            for of, one in expected.items()
            if one.numel()
        }
        worst = max(apart, key=lambda of: math.inf if math.isnan(apart[of]) else apart[of])
        detail = f"by {worst} it differs from autograd's by {apart[worst]:.2g} of its size"
        allowed = TOLERANCE + (slack if name == "memory-saving" else 0.0)
        rows.append(Row.at_most(check, apart[worst], allowed, detail))
    return rows


def _gradients(flow: Bijection, x: Tensor) -> Mapping[str, Tensor]:
    """By the name of each parameter, and the input's."""
    leaves = {
        name.removeprefix("flow."): p for name, p in flow.named_parameters() if p.requires_grad
    }
    given = x.detach().requires_grad_()
    y, log_det = flow(given)
    # Every sample and every entry with a weight of its own.
    samples = torch.linspace(1, 2, len(x), dtype=x.dtype)
    loss = (samples * (y.flatten(1).square().sum(1) + y.flatten(1).sin().sum(1) + log_det)).sum()
    wanted = {**leaves, "its input": given}
    found = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
    return dict(zip(wanted, found, strict=True))
