"""What memory a device has, and how much of it a pack may take."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

FRACTION = 0.7
"""Of a pack's share; the rest is for the process itself, the data and the probes."""

FILES = {
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "": ("memory.max", "memory.current", "inactive_file"),
}
"""Of a control group: limit, use, and what of the use is given back on demand; version 1 and 2."""


class Memory(NamedTuple):
    """Memory in bytes.

    Attributes:
        total: Of the device, or of the container where that has less.
        available: What nobody uses now.
    """

    total: int
    available: int


def usable_bytes(device: torch.device, share: float) -> int | None:
    """Bytes that the members of a pack may take now; ``None`` where nobody knows.

    On a graphics card ``FRACTION · min(share · total, available)``: a share is of the whole, since
    the other packs on it have taken theirs already, or will. On a machine, which has other things
    to do, ``FRACTION · share · available``: all packs together take no more than is there.

    Args:
        device: Where the pack is trained.
        share: Its part of the device's memory, in (0, 1].
    """
    memory = device_memory(device)
    if memory is None:
        return None
    if device.type == "cuda":
        return int(FRACTION * min(share * memory.total, memory.available))
    return int(FRACTION * share * memory.available)


def device_memory(device: torch.device) -> Memory | None:
    """The memory of a device; ``None`` where nobody knows."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        # What this process's allocator keeps and nothing uses is as good as free.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return Memory(total, free + kept)
    return host_memory()


def host_memory(root: Path = Path("/")) -> Memory | None:
    """The machine's memory, or that of the nearest control group that has less (Linux).

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        memory = Memory(1024 * kibibytes["MemTotal"], 1024 * kibibytes["MemAvailable"])
    except (OSError, KeyError, ValueError, IndexError):
        return None
    for limit, used in _limits(root):
        memory = Memory(min(memory.total, limit), min(memory.available, max(0, limit - used)))
    return memory


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of each control group that this process is in."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controller, path = line.split(":", 2)
        if controller not in FILES:
            continue
        limit, use, reclaimable = FILES[controller]
        top = root / "sys/fs/cgroup" / controller
        folder = top / path.lstrip("/")
        # In a container the path may be the host's; then the group itself is the top.
        for group in (folder, *folder.parents):
            if not group.is_relative_to(top):
                break
            try:
                statistics = (group / "memory.stat").read_text().split()
                given_back = int(statistics[statistics.index(reclaimable) + 1])
                used = int((group / use).read_text()) - given_back
                yield int((group / limit).read_text()), used
            except (OSError, ValueError):  # no such group, or "max"
                continue
