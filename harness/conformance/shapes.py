"""Are shapes and dtypes those of the contract?"""

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.conformance.row import Row


def shapes(flow: Bijection, x: Tensor) -> list[Row]:
    """As many latent dimensions as inputs, log-dets and convergence per sample, one dtype."""
    with torch.no_grad():
        y, log_det = flow(x)
        back, inverse_log_det, report = flow.inverse_with_convergence(y)
    batch = (len(x),)
    wrong = []
    if y.shape[0] != len(x) or y.numel() != x.numel():
        wrong.append(f"F(x) has the shape {tuple(y.shape)}")
    if back.shape != x.shape:
        wrong.append(f"F⁻¹ returns the shape {tuple(back.shape)}")
    for name, one in (("F", log_det), ("F⁻¹", inverse_log_det)):
        if one.shape != batch:
            wrong.append(f"the log-det of {name} has the shape {tuple(one.shape)}")
    if any(one.shape != batch for one in report):
        wrong.append("the convergence of F⁻¹ is not told per sample")
    for name, one in (("F", y), ("F⁻¹", back), ("the log-det", log_det)):
        if one.dtype != x.dtype:
            wrong.append(f"{name} turns {x.dtype} into {one.dtype}")
    detail = "; ".join(wrong) or "shapes and dtypes are those of the contract"
    return [Row.at_most("shapes", len(wrong), 0, f"{detail}, for x of shape {tuple(x.shape)}")]
