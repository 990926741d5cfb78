"""What raised inside of somebody else's code, and on which samples."""

from collections import Counter
from typing import NamedTuple, Self

import torch
from torch import Tensor

from harness.precisions import UnsupportedError

_OF_ALL = (
    "shape",
    "size",
    "dimension",
    "same dtype",
    "scalar type",
    "not implemented for",
    "low precision",
    "allocate",
    "out of memory",
    "device",
    "does not require grad",
    "vmap",
)
"""What PyTorch says of a call that no sample of the batch is to blame for."""

_INDEX = "out of bounds"
"""What it says, with sizes, where a search among a spline's knots ended beyond them."""


class Failure(NamedTuple):
    """How a sample failed.

    Attributes:
        direction: ``forward`` or ``inverse``.
        block: Of which layer, for a reader.
        said: What was raised, in one line.
        precision: The dtype it was run in.
        layer: The layer's place in the network; -1 where nobody has said it.
    """

    direction: str
    block: str
    said: str
    precision: str
    layer: int = -1


class Failures:
    """Counts of what raised. Copies of a network count on the one list.

    Attributes:
        counts: How many samples failed, in which way.
        layer: The place of the block in its network.
    """

    def __init__(self) -> None:
        self.counts: Counter[Failure] = Counter()
        self.layer = -1

    def add(self, direction: str, block: str, error: Exception, dtype: torch.dtype) -> None:
        """One sample failed."""
        said = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
        precision = str(dtype).removeprefix("torch.")
        self.counts[Failure(direction, block, said, precision, self.layer)] += 1

    def __deepcopy__(self, memo: object) -> Self:
        return self


def fails_as_a_whole(error: Exception, x: Tensor) -> bool:
    """Whether an error concerns the call, and not single samples of its batch."""
    if isinstance(
        error,
        TypeError
        | AttributeError
        | LookupError
        | NameError
        | NotImplementedError
        | UnsupportedError
        | torch.OutOfMemoryError,
    ):
        return True
    text = str(error).lower()
    of_a_dtype = "same dtype" in text or "scalar type" in text
    of_all = any(said in text for said in _OF_ALL)
    if isinstance(error, RuntimeError) and of_all and not of_a_dtype and _INDEX not in text:
        return True
    return is_vectorized(x)


def is_vectorized(x: Tensor) -> bool:
    """Whether it stands for the tensors of several networks, within ``torch.vmap``."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return True
        x = functorch.get_unwrapped(x)
    return False
