"""Is the inverse the inverse?"""

import torch
from torch import Tensor

from harness.bijections.base import Bijection, Convergence
from harness.conformance.jacobians import Local, jacobians
from harness.conformance.row import Row

ROUNDINGS = 1000
"""How many roundings, each grown by the condition number, a network may add up."""
RESIDUALS = 100
"""A contraction of 0.99 errs by that many times the residual of its last step."""
WELL_CONDITIONED = 1e4
"""A condition number at which an iteration in float64 has no excuse."""


def rounding(local: Local, dtype: torch.dtype) -> Tensor:
    """What may be lost by arithmetic alone, relative to 1 and the size of what is computed."""
    return ROUNDINGS * torch.finfo(dtype).eps * local.condition


def round_trip(flow: Bijection, x: Tensor, tolerance: Tensor) -> list[Row]:
    """``F⁻¹(F(x)) = x`` to within the tolerance, or the inverse says that it did not converge.

    What did not converge must come back as near as its residual says. The error is
    ``max |x' - x| / (1 + max |x|)``.

    Args:
        flow: In the precision of ``x``.
        x: Shape ``(B, *shape)``.
        tolerance: Shape ``(B,)``.
    """
    with torch.no_grad():
        back, _, report = flow.inverse_with_convergence(flow(x)[0])
    allowed = _allowed(report, tolerance)
    return [
        _returned("round trip, F⁻¹(F(x)) = x", x, back, allowed),
        _converged(report),
    ]


def round_trip_of_latents(flow: Bijection, y: Tensor, tolerance: Tensor) -> list[Row]:
    """``F(F⁻¹(y)) = y``, likewise."""
    with torch.no_grad():
        x, _, report = flow.inverse_with_convergence(y)
        again, _ = flow(x)
    return [_returned("round trip, F(F⁻¹(y)) = y", y, again, _allowed(report, tolerance))]


def _allowed(report: Convergence, tolerance: Tensor) -> Tensor:
    admitted = tolerance + RESIDUALS * report.residual.double()
    return torch.where(report.converged, tolerance, admitted)


def _returned(check: str, expected: Tensor, found: Tensor, allowed: Tensor) -> Row:
    expected, found = expected.flatten(1).double(), found.flatten(1).double()
    error = (found - expected).abs().amax(1) / (1 + expected.abs().amax(1))
    error = error.nan_to_num(torch.inf)
    worst = int((error - allowed).nan_to_num(-torch.inf).argmax())
    detail = f"what comes back is off by {float(error[worst]):.2g} of its size at sample {worst}"
    return Row.at_most(check, float(error[worst]), float(allowed[worst]), detail)


def _converged(report: Convergence) -> Row:
    lost = ~report.converged
    count, residual = int(lost.sum()), float(report.residual.max())
    iterations = int(report.iterations.max())
    detail = f"{count} of {len(lost)} inverses say that they did not converge, in at most "
    detail += f"{iterations} iterations; largest residual {residual:.2g}"
    return Row.at_most("convergence is reported", count / len(lost), 1.0, detail)


def convergence(local: Local, report: Convergence) -> Row:
    """At least half of the inverses converge where the condition number is modest.

    To say that nothing converged excuses any error, so it must not be all that is ever said.

    Args:
        local: In float64.
        report: Of the inverse at ``local.y``.
    """
    check = "the inverse converges"
    well = local.condition <= WELL_CONDITIONED
    count, lost = int(well.sum()), int((well & ~report.converged).sum())
    if not count:
        return Row.at_most(check, 0, 0, "no input is well-conditioned, so nothing is held to it")
    detail = f"{lost} of {count} inverses at well-conditioned inputs say that they did not, "
    detail += f"in at most {int(report.iterations[well].max())} iterations"
    return Row.at_most(check, lost / count, 0.5, detail)


def inverse_jacobian(flow: Bijection, local: Local) -> list[Row]:
    """``J_{F⁻¹}(F(x)) · J_F(x) = I``, where the inverse says that it converged."""
    check = "Jacobian of the inverse × Jacobian"
    with torch.no_grad():
        _, _, report = flow.inverse_with_convergence(local.y)
    if not report.converged.any():
        return [Row.at_most(check, 0, 0, "no inverse converged, so nothing is held to it")]
    product = jacobians(flow.inverse, local.y).double() @ local.jacobians
    identity = torch.eye(product.shape[-1], dtype=product.dtype)
    off = (product - identity).abs().flatten(1).amax(1).nan_to_num(torch.inf)
    off = torch.where(report.converged, off, 0.0)
    allowed = 1e-7 + rounding(local, local.x.dtype)
    worst = int((off - allowed).nan_to_num(-torch.inf).argmax())
    detail = f"the product is off the identity by {float(off[worst]):.2g} at sample {worst}"
    return [Row.at_most(check, float(off[worst]), float(allowed[worst]), detail)]
