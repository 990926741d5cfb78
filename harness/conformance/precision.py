"""Do lower precisions give what float64 gives?"""

import copy
from dataclasses import replace

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.conformance.inverse import round_trip, rounding
from harness.conformance.jacobians import Local
from harness.conformance.row import Row
from harness.conformance.shapes import shapes


def float32(flow: Bijection, local: Local) -> list[Row]:
    """Value and log-det against float64 at the same weights, and the round trip."""
    single = copy.deepcopy(flow).float()
    x = local.x.float()
    double = copy.deepcopy(single).double()  # of the very weights that float32 holds
    allowed = rounding(local, torch.float32)
    with torch.no_grad():
        values, expected = single(x), double(x.double())
    rows = []
    for name, value, reference in zip(("value", "log-det"), values, expected, strict=True):
        found, right = (one.double().reshape(len(x), -1) for one in (value, reference))
        off = (found - right).abs().amax(1) / (1 + right.abs().amax(1))
        off, dimension = off.nan_to_num(torch.inf), local.jacobians.shape[-1]
        limit = allowed * (dimension if name == "log-det" else 1)
        worst = int((off - limit).nan_to_num(-torch.inf).argmax())
        detail = f"the {name} in float32 is off by {float(off[worst]):.2g} at sample {worst}"
        rows.append(
            Row.at_most(
                f"float32 against float64, {name}", float(off[worst]), float(limit[worst]), detail
            )
        )
    trip = shapes(single, x) + round_trip(single, x, allowed)
    return rows + [replace(row, check=f"float32, {row.check}") for row in trip]


def bfloat16(flow: Bijection, x: Tensor) -> list[Row]:
    """The round trip is finite or says that it did not converge; its error is told."""
    check = "bfloat16 round trip"
    low, x = copy.deepcopy(flow).bfloat16(), x.bfloat16()
    try:
        with torch.no_grad():
            back, _, report = low.inverse_with_convergence(low(x)[0])
    except (NotImplementedError, RuntimeError) as error:
        if not _unsupported(error):
            raise
        return [Row.at_most(check, 0, 0, f"does not apply: {str(error).splitlines()[0]}")]
    lost = ~back.flatten(1).isfinite().all(1)
    silent = int((lost & report.converged).sum())
    off = (back.double() - x.double()).flatten(1)[~lost].abs()
    largest = float(off.max()) if off.numel() else float("nan")
    detail = f"{int(lost.sum())} of {len(x)} samples come back not finite, {silent} of them "
    detail += f"without a word; the largest error of the others is {largest:.2g}"
    return [Row.at_most(check, silent, 0, detail)]


def _unsupported(error: Exception) -> bool:
    """PyTorch has no kernel for it, or LAPACK none in that precision."""
    text = str(error).lower()
    said = ("not implemented for", "low precision dtypes not supported", "unsupported dtype")
    return any(sentence in text for sentence in said)
