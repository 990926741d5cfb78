"""How it shows that memory ran out."""

import torch

SENTENCES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Of errors that have no type of their own: on the host, from the runtime, from its libraries."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(text in str(error) for text in SENTENCES):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)
