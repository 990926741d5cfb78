"""Is the log-det that of the Jacobian?"""

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.conformance.inverse import rounding
from harness.conformance.jacobians import Local
from harness.conformance.row import Row


def log_det(flow: Bijection, local: Local) -> list[Row]:
    """The log-det of both directions against LAPACK's of the autograd Jacobian, in float64."""
    expected = torch.linalg.slogdet(local.jacobians).logabsdet
    dimension = local.jacobians.shape[-1]
    allowed = 1e-8 * (1 + expected.abs()) + dimension * rounding(local, local.x.dtype)
    with torch.no_grad():
        _, backward, report = flow.inverse_with_convergence(local.y)
    rows = [_agrees("log-det, forward", local.log_det, expected, allowed)]
    if report.converged.any():
        kept = report.converged
        rows.append(_agrees("log-det, inverse", backward[kept], -expected[kept], allowed[kept]))
    return rows


def _agrees(check: str, said: Tensor, expected: Tensor, allowed: Tensor) -> Row:
    said = said.double()
    if said.shape != expected.shape:
        detail = f"it has the shape {tuple(said.shape)} for {len(expected)} samples"
        return Row(check, float("nan"), 0.0, passed=False, detail=detail)
    off = (said - expected).abs().nan_to_num(torch.inf)
    worst = int((off - allowed).nan_to_num(-torch.inf).argmax())
    detail = (
        f"the block says {float(said[worst]):.9g}, its autograd Jacobian "
        f"{float(expected[worst]):.9g}, at sample {worst}"
    )
    row = Row.at_most(check, float(off[worst]), float(allowed[worst]), detail)
    flipped = ((said + expected).abs() <= allowed).all()
    return row if row.passed or not flipped else row.at("", ": its sign is wrong")
