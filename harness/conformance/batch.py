"""Does a sample's result depend on its batch mates?"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.conformance.inverse import rounding
from harness.conformance.jacobians import Local
from harness.conformance.row import Row

Function = Callable[[Tensor], tuple[Tensor, ...]]

FAR = 1e5
"""How much farther a mate is: what stops by the norm of a whole batch then stops early for it."""
CROWD = 256


def batch_mates(flow: Bijection, local: Local) -> list[Row]:
    """Each sample alone, beside the others, far ones and NaN, and in a large batch; in float64."""
    return _rows(flow, local.x, local.y, 1e-10 + rounding(local, local.x.dtype), "")


def batch_mates_in_float32(flow: Bijection, local: Local) -> list[Row]:
    """Likewise, where a far mate hides more.

    Whether an inverse converged is not compared, which rounding may decide there and which depends
    on the size of a batch; what did not converge is not held to anything.
    """
    single, x = copy.deepcopy(flow).float(), local.x.float()
    with torch.no_grad():
        y, _ = single(x)
    dimension = local.jacobians.shape[-1]
    return _rows(single, x, y, dimension * rounding(local, x.dtype), ", float32")


def _rows(flow: Bijection, x: Tensor, y: Tensor, allowed: Tensor, precision: str) -> list[Row]:
    rows = []
    for name, function, given in (("forward", flow, x), ("inverse", _full_inverse(flow), y)):
        mates = {
            "the other samples": given[:0],
            "a sample 1e5 times as far": FAR * given[-1:],
            "a sample of NaN": torch.full_like(given[:1], torch.nan),
            f"{CROWD} others": given.repeat(-(-CROWD // len(given)), *[1] * (given.ndim - 1)),
        }
        with torch.no_grad():
            each = [function(given[i : i + 1]) for i in range(len(given))]
            alone = tuple(torch.cat(column) for column in zip(*each, strict=True))
            off = torch.stack(
                [
                    _distance(alone, function(torch.cat([given, others])), flags=precision == "")
                    for others in mates.values()
                ]
            )
        worst = int((off - allowed).nan_to_num(-torch.inf).argmax())
        mate, sample = divmod(worst, len(given))
        measured, limit = float(off[mate, sample]), float(allowed[sample])
        detail = f"beside {list(mates)[mate]} the result of sample {sample} differs by "
        detail += f"{measured:.2g} from alone"
        rows.append(Row.at_most(f"batch independence, {name}{precision}", measured, limit, detail))
    return rows


def _full_inverse(flow: Bijection) -> Function:
    """Value, log-det and whether it converged."""

    def function(y: Tensor) -> tuple[Tensor, ...]:
        x, log_det, report = flow.inverse_with_convergence(y)
        return x, log_det, report.converged.to(x.dtype)

    return function


def _distance(alone: tuple[Tensor, ...], together: tuple[Tensor, ...], *, flags: bool) -> Tensor:
    """The largest relative difference of each sample's results; inf where one is lost.

    Without flags the third result, whether both converged, says which samples are compared.
    """
    count = len(alone[0])
    pairs = [
        (a.flatten(1) if a.ndim > 1 else a.unsqueeze(1), b[:count].reshape(count, -1))
        for a, b in zip(alone, together, strict=True)
    ]
    off = torch.stack(
        [
            ((a - b).abs() / (1 + a.abs())).where(a != b, torch.zeros_like(a)).amax(1)
            for a, b in (pairs if flags else pairs[:2])
        ]
    )
    off = off.nan_to_num(torch.inf).amax(0).double()
    if flags or len(pairs) == 2:
        return off
    converged = (pairs[2][0] * pairs[2][1]).squeeze(1) == 1
    return torch.where(converged, off, 0.0)
