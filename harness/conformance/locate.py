"""Which part of a network fails by itself?"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.conformance.row import Row

Check = Callable[[Bijection, Tensor], list[Row]]


def located(flow: Bijection, x: Tensor, check: Check, where: str) -> list[Row]:
    """The rows of a check; what failed names the first part of a chain that fails it too."""
    rows = check(flow, x)
    return [row.at(where, "" if row.passed else _place(flow, x, check, row.check)) for row in rows]


def _place(flow: Bijection, x: Tensor, check: Check, name: str) -> str:
    """``, in parts.3 (Residual)``; empty where no part fails by itself, or none can be asked."""
    path = []
    try:
        while isinstance(flow, Chain):
            for number, part in enumerate(cast(list[Bijection], list(flow.parts))):
                if any(row.check == name and not row.passed for row in check(part, x)):
                    path.append(f"parts.{number}")
                    flow = part
                    break
                with torch.no_grad():
                    x, _ = part(x)
            else:
                break
    except Exception:  # noqa: BLE001 - a stranger's part may not stand alone; the row stays
        return ""
    return f", in {'.'.join(path)} ({type(flow).__name__})" if path else ""
