"""How many cells a pack's share of a device's memory has room for."""

import torch

from harness.memory.device import usable_bytes
from harness.memory.freed import release_freed_memory
from harness.memory.member import member_bytes
from harness.suite.cell import Cell


def members_that_fit(cell: Cell, device: torch.device, share: float) -> int | None:
    """The most cells of the program of this one that fit, at least 1; ``None`` if unknown.

    Args:
        cell: One of them.
        device: Where they are trained.
        share: The part of its memory that is theirs, in (0, 1].
    """
    member, usable = member_bytes(cell), usable_bytes(device, share)
    if member is None or usable is None:
        return None
    return max(1, usable // member)


def size_to_train(cell: Cell, wanted: int, device: torch.device, share: float) -> int:
    """How many of ``wanted`` cells to train at once, on a device that is in use."""
    if wanted == 1:
        return 1  # and nothing is to be measured
    fit = members_that_fit(cell, device, share)
    if fit is not None and fit < wanted:
        release_freed_memory()  # what this process has freed counts as in use until then
        fit = members_that_fit(cell, device, share)
    return wanted if fit is None else min(wanted, fit)
