"""What mixed precision a computation runs in, to run it so again."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch


def autocast_now(device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Makes contexts in which autocast is what it is now.

    Without its cache, which would hold what is cast of every layer until the last one is done.
    """
    kind = device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return lambda: torch.autocast(kind, dtype, enabled, cache_enabled=False)
