"""On what the figures were measured."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path


def processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, str | int]:
    return {
        "processor": processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "ray": version("ray"),
        "innbench": version("innbench"),
    }
