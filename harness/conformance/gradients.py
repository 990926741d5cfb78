"""Are gradients finite, and does every parameter matter?"""

import copy

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.conformance.row import Row


def gradients(flow: Bijection, x: Tensor) -> list[Row]:
    """Of the value and of the log-det, both ways, by parameters and inputs.

    Every parameter moves a value or a log-det.
    """
    with torch.no_grad():
        y, _ = flow(x)
    rows, moved = [], set[str]()
    for direction, given in (("forward", x), ("inverse", y)):
        for what, found in _gradients(flow, given, direction).items():
            broken = {name: int((~one.isfinite()).sum()) for name, one in found.items()}
            count = sum(broken.values())
            named = ", ".join(name for name, wrong in broken.items() if wrong)
            detail = f"{count} entries are not finite" + (f", by {named}" if named else "")
            rows.append(Row.at_most(f"gradient of the {what}, {direction}", count, 0, detail))
            moved |= {name for name, one in found.items() if bool((one != 0).any())}
    still = [name for name, p in flow.named_parameters() if p.requires_grad and name not in moved]
    detail = f"value and log-det do not depend on {', '.join(still)}" if still else "all do"
    rows.append(Row.at_most("every parameter moves something", len(still), 0, detail))
    return rows


STEP = 1e-4
"""The least of the differences; twice and four times it tell what they can resolve."""
SPREADS = 10


def gradients_against_differences(flow: Bijection, x: Tensor) -> list[Row]:
    """Along one direction of all weights and inputs, both ways, in float64.

    By central differences, ``(f(θ + h v) - f(θ - h v)) / 2h``, of the sums of :func:`gradients`,
    with v random and of norm 1. Three steps h are taken, and the gradient may be off by ten times
    what they differ by, and by 1e-6 of its size or of 1. So a map that rounds is held to little.
    An inverse that did not converge is no function to differentiate, and is left out.
    """
    with torch.no_grad():
        y, _ = flow(x)
        _, _, report = flow.inverse_with_convergence(y)
    rows = []
    for direction, given in (("forward", x), ("inverse", y[report.converged])):
        if not len(given):
            continue
        found = _gradients(flow, given, direction)
        along = _direction(found["value"])
        quotients = [_quotients(flow, given, direction, along, STEP * k) for k in (1, 2, 4)]
        for number, (what, gradient) in enumerate(found.items()):
            slope = float(sum((gradient[name] * v).sum() for name, v in along.items()))
            quotient = [one[number] for one in quotients]
            spread = max(quotient) - min(quotient)
            allowed = SPREADS * spread + 1e-6 * (1 + abs(slope))
            detail = f"along a direction it is {slope:.6g}, and a difference {quotient[0]:.6g}"
            check = f"gradient of the {what} against differences, {direction}"
            rows.append(Row.at_most(check, abs(slope - quotient[0]), allowed, detail))
    return rows


def _direction(like: dict[str, Tensor]) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    drawn = {
        name: torch.randn(leaf.shape, generator=source, dtype=leaf.dtype)
        for name, leaf in like.items()
    }
    norm = torch.stack([one.norm() for one in drawn.values()]).norm()
    return {name: one / norm for name, one in drawn.items()}


@torch.no_grad()
def _quotients(
    flow: Bijection, given: Tensor, direction: str, along: dict[str, Tensor], step: float
) -> list[float]:
    """Of the value's and the log-det's sums."""
    ends = []
    for signed in (step, -step):
        moved = copy.deepcopy(flow)
        for name, parameter in moved.named_parameters():
            if name in along:
                parameter.add_(along[name], alpha=signed)
        there = given + signed * along["its input"]
        ends.append(_sums(*(moved(there) if direction == "forward" else moved.inverse(there))))
    return [float(a - b) / (2 * step) for a, b in zip(*ends, strict=True)]


def _sums(value: Tensor, log_det: Tensor) -> tuple[Tensor, Tensor]:
    return value.square().sum(), log_det.sum()


def unmoving(flow: Bijection, x: Tensor, direction: str) -> list[str]:
    """Parameters on which neither value nor log-det of a direction depends."""
    found = _gradients(flow, x, direction).values()
    return [
        name
        for name, parameter in flow.named_parameters()
        if parameter.requires_grad and not any(bool((g[name] != 0).any()) for g in found)
    ]


def _gradients(flow: Bijection, given: Tensor, direction: str) -> dict[str, dict[str, Tensor]]:
    """By the name of each parameter, and the input's."""
    given = given.detach().requires_grad_()
    value, log_det = flow(given) if direction == "forward" else flow.inverse(given)
    leaves: dict[str, Tensor] = {name: p for name, p in flow.named_parameters() if p.requires_grad}
    leaves["its input"] = given
    found = {}
    for what, scalar in zip(("value", "log-det"), _sums(value, log_det), strict=True):
        if scalar.requires_grad:
            slopes = torch.autograd.grad(
                scalar, list(leaves.values()), retain_graph=True, materialize_grads=True
            )
        else:  # a constant
            slopes = tuple(torch.zeros_like(leaf) for leaf in leaves.values())
        found[what] = dict(zip(leaves, slopes, strict=True))
    return found
