"""Does a sample's result depend on its batch mates?"""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.conformance.inverse import rounding
from harness.conformance.jacobians import Local
from harness.conformance.row import Row

Function = Callable[[Tensor], tuple[Tensor, ...]]


def batch_mates(flow: Bijection, local: Local) -> list[Row]:
    """The first sample alone, beside the others, beside ones ten times as far, and beside NaN."""
    x, y = local.x, local.y
    allowed = 1e-10 + float(rounding(local, x.dtype)[0])
    rows = []
    for name, function, given in (("forward", flow, x), ("inverse", _full_inverse(flow), y)):
        first = given[:1]
        mates = {
            "other samples": given[1:],
            "samples ten times as far": 10 * given[1:],
            "a sample of NaN": torch.full_like(first, torch.nan),
        }
        with torch.no_grad():
            alone = function(first)
            off = {
                mate: _distance(alone, function(torch.cat([first, others])))
                for mate, others in mates.items()
            }
        worst = max(off, key=lambda mate: off[mate])
        detail = f"beside {worst} the first sample's result differs by {off[worst]:.2g} from alone"
        rows.append(Row.at_most(f"batch independence, {name}", off[worst], allowed, detail))
    return rows


def _full_inverse(flow: Bijection) -> Function:
    """Value, log-det and whether it converged."""

    def function(y: Tensor) -> tuple[Tensor, ...]:
        x, log_det, report = flow.inverse_with_convergence(y)
        return x, log_det, report.converged.to(x.dtype)

    return function


def _distance(alone: tuple[Tensor, ...], together: tuple[Tensor, ...]) -> float:
    """The largest relative difference of a first sample's results; inf where one is lost."""
    off = [
        ((a[0] - b[0]).abs() / (1 + a[0].abs())).where(a[0] != b[0], torch.zeros_like(a[0])).max()
        for a, b in zip(alone, together, strict=True)
    ]
    return float(torch.stack(off).nan_to_num(torch.inf).max())
