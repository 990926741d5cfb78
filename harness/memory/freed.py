"""The allocator of a worker's host memory."""

import ctypes
import gc
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
TRIM_AT, MAP_FROM = 1 << 30, 32 << 20  # bytes; the second is the most that glibc takes


def keep_freed_memory() -> None:
    """Tell glibc to keep memory that is freed, up to a GiB, rather than give it back.

    A training step frees what the next one takes, and fresh pages must be faulted in and zeroed:
    with 16 members of width 128 that is a sixth of a step (docs/decisions/packs.md). Nothing
    happens where the C library is another one.
    """
    if library := _glibc():
        library.mallopt(M_TRIM_THRESHOLD, TRIM_AT)
        library.mallopt(M_MMAP_THRESHOLD, MAP_FROM)


def release_freed_memory() -> None:
    """Collect what only cycles hold, and tell glibc to give back all that is free."""
    gc.collect()
    if library := _glibc():
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
