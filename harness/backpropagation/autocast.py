"""What mixed precision a computation runs in, to run it so again."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch


def autocast_now(device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Makes contexts in which autocast is what it is now.

    Without its cache: what is cast without a graph would be taken, later and by others, for
    what has one.
    """
    kind = device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return lambda: torch.autocast(kind, dtype, enabled, cache_enabled=False)
