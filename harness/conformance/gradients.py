"""Are gradients finite, and does every parameter matter?"""

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
    for what, scalar in (("value", value.square().sum()), ("log-det", log_det.sum())):
        if scalar.requires_grad:
            slopes = torch.autograd.grad(
                scalar, list(leaves.values()), retain_graph=True, materialize_grads=True
            )
        else:  # a constant
            slopes = tuple(torch.zeros_like(leaf) for leaf in leaves.values())
        found[what] = dict(zip(leaves, slopes, strict=True))
    return found
