"""The floating-point precisions that a network can be run in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, NamedTuple, cast, get_args

import torch
from pydantic import Field

PrecisionName = Literal["float64", "float32", "tf32", "bfloat16", "float16"]


class Precision(NamedTuple):
    """How numbers are kept, and how matrices are multiplied.

    Attributes:
        dtype: Of weights and inputs.
        tf32: Whether products of float32 matrices round their factors to 10 bits.
    """

    dtype: torch.dtype
    tf32: bool = False


WantedPrecisions = Annotated[list[PrecisionName], Field(min_length=1)]
"""What a probe's parameter of that name is."""

USUAL: list[PrecisionName] = ["float32", "float64"]

PRECISIONS: dict[PrecisionName, Precision] = {
    "float64": Precision(torch.float64),
    "float32": Precision(torch.float32),
    "tf32": Precision(torch.float32, tf32=True),
    "bfloat16": Precision(torch.bfloat16),
    "float16": Precision(torch.float16),
}
assert set(PRECISIONS) == set(get_args(PrecisionName))  # noqa: S101 - of two lists in this file


class UnsupportedError(Exception):
    """A device, or an operation of a network, does not exist in a precision."""


def available(device: torch.device) -> tuple[PrecisionName, ...]:
    """The precisions that a device has, the finest first; tf32 from NVIDIA's Ampere on."""
    tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return tuple(name for name, one in PRECISIONS.items() if tf32 or not one.tf32)


@contextmanager
def running(name: PrecisionName, device: torch.device) -> Iterator[None]:
    """Run what is inside in a precision: its matrix products, for dtypes are the caller's.

    Raises:
        UnsupportedError: The device does not have it; or what runs inside has no kernel in half
            precision, whose sentence is PyTorch's.
    """
    if name not in available(device):
        raise UnsupportedError(f"{device.type} has no {name}")
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    _allow_tf32(PRECISIONS[name].tf32, PRECISIONS[name].tf32)
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        if not is_unsupported(error, name):
            raise
        raise UnsupportedError(str(error).splitlines()[0]) from None
    finally:
        _allow_tf32(*before)


def is_unsupported(error: Exception, name: PrecisionName) -> bool:
    """Whether PyTorch has no kernel for something, or LAPACK none, in half precision."""
    said = {"bfloat16": ("bfloat16",), "float16": ("half", "float16")}.get(cast(str, name), ())
    text = str(error).lower()
    return any(word in text for word in (*said, "low precision")) if said else False


def _allow_tf32(matmul: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = convolutions
