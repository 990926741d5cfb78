"""Is the log-det that of the Jacobian?"""

import copy
import math

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.continuous.flow_log_determinant import OfSteps
from harness.bijections.residual.log_determinant import (
    Estimator,
    LogDeterminant,
    estimates,
    resample,
)
from harness.conformance.inverse import rounding
from harness.conformance.jacobians import Local, linearise
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


DRAWS = 64
STANDARD_ERRORS = 6


def log_det_in_training(flow: Bijection, x: Tensor) -> list[Row]:
    """That of training mode, sample by sample, against LAPACK's of its Jacobian.

    Of an estimate the sum's mean over draws, to within standard errors and the error that it
    states; of one that states none, as of a trace that an ODE solver integrates, the number is
    only told.
    """
    training = copy.deepcopy(flow).train()
    local = linearise(training, x)
    expected = torch.linalg.slogdet(local.jacobians).logabsdet
    source = torch.Generator().manual_seed(0)
    said = []
    for _ in range(DRAWS if estimates(training) else 1):
        resample(training, source)
        with torch.no_grad():
            said.append(training(x)[1])
    check, drawn = "log-det in training mode", torch.stack(said).double()
    dimension = local.jacobians.shape[-1]
    allowed = 1e-8 * (1 + expected.abs()) + dimension * rounding(local, x.dtype)
    stated = sum(_stated_error(module, dimension) for module in training.modules())
    if len(drawn) == 1 or drawn.shape[1:] != expected.shape:
        return [_agrees(check, drawn[0], expected, allowed + stated)]
    # Of estimates the sum: of one sample's 64 draws a rare large term may be missing.
    sums, spread = drawn.sum(1), float(drawn.sum(1).std()) / math.sqrt(len(drawn))
    off = float((sums.mean() - expected.sum()).abs())
    detail = f"over the samples it sums to {float(sums.mean()):.6g}, their autograd Jacobians' to "
    detail += f"{float(expected.sum()):.6g}; the mean of {len(drawn)} draws, with a standard error "
    detail += f"of {spread:.2g}"
    total = float(allowed.sum()) + STANDARD_ERRORS * spread + len(x) * stated
    return [Row.at_most(check, off, total, detail)]


def _stated_error(module: torch.nn.Module, dimension: int) -> float:
    """Of the log-det that a block has in training; inf where it states none."""
    estimator = getattr(module, "in_training", None)
    if not isinstance(estimator, Estimator) or isinstance(estimator, OfSteps):
        return 0.0
    network = getattr(module, "network", None)
    if not isinstance(estimator, LogDeterminant) or not hasattr(network, "lipschitz"):
        return math.inf
    return estimator.error_bound(network.lipschitz(), dimension)  # type: ignore[union-attr]


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
