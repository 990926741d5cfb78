"""Inputs that a person gives: a file of numbers, or a dataset by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness import registry
from harness.datasets.base import Dataset
from harness.errors import InputError, allowed_and_nearest
from harness.registry import UnresolvedError
from harness.seeding import generator

KINDS = (".npy", ".parquet")


@dataclass(frozen=True)
class Given:
    """Inputs in distribution.

    Attributes:
        test: Shuffled, ``(N, *shape)`` float32.
        lowest: The least of each entry, of the shape of one input.
        highest: The greatest, likewise.
        low: The least of the nominal range, from which off-distribution inputs are made.
        high: The greatest, likewise.
        said: What they are, for the report.
    """

    test: Tensor
    lowest: Tensor
    highest: Tensor
    low: float
    high: float
    said: str

    @classmethod
    def of(cls, x: Tensor, said: str) -> "Given":
        """Inputs of which there is no more than themselves."""
        lowest, highest = x.aminmax(dim=0)
        return cls(x, lowest, highest, float(lowest.min()), float(highest.max()), said)


def read(name: str, shape: tuple[int, ...] | None) -> Given:
    """The inputs of a ``.npy`` or ``.parquet`` file, or of a registered dataset.

    Args:
        name: A path, or a dataset's name.
        shape: Of one input, where it is known; rows of as many numbers take this shape.

    Raises:
        InputError: There is none, or it holds what no network can be given.
    """
    path = Path(name)
    if path.suffix not in KINDS:
        if path.exists():
            kinds = " or ".join(KINDS)
            raise InputError(f"--data {name}: a file of inputs is {kinds}, and this is neither")
        return _of_a_dataset(name)
    if not path.is_file():
        raise InputError(f"--data {name}: there is no such file")
    array = _npy(path) if path.suffix == ".npy" else _parquet(path)
    x = _checked(array, name)
    if shape is not None and x[0].numel() == int(np.prod(shape)):
        x = x.reshape(len(x), *shape)
    order = torch.randperm(len(x), generator=generator(0, "order of the given data"))
    return Given.of(x[order], f"{len(x)} rows of {path.name}")


def _npy(path: Path) -> "np.ndarray":
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        said = str(error).split("\n")[0]
        raise InputError(f"--data {path}: not an array of numbers ({said})") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"--data {path}: holds several arrays, and one is needed")
    return array


def _parquet(path: Path) -> "np.ndarray":
    import pyarrow  # noqa: PLC0415 - of one kind of file only
    import pyarrow.parquet  # noqa: PLC0415

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        said = str(error).split("\n")[0]
        raise InputError(f"--data {path}: not a Parquet file ({said})") from None
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        numeric = pyarrow.types.is_integer(field.type) or pyarrow.types.is_floating(field.type)
        if not numeric:
            message = f"the column {field.name!r} holds {field.type}, and no numbers"
            raise InputError(f"--data {path}: {message}")
        columns.append(column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False))
    return np.stack(columns, 1) if columns else np.empty((0, 0))


def _checked(array: "np.ndarray", name: str) -> Tensor:
    if array.dtype.kind not in "iufb":
        raise InputError(f"--data {name}: holds {array.dtype}, and no numbers")
    if array.ndim < 2:
        shape = tuple(array.shape)
        raise InputError(f"--data {name}: rows of inputs are needed, not the shape {shape}")
    if not array.size:
        raise InputError(f"--data {name}: is empty, of shape {tuple(array.shape)}")
    x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)).to(torch.float32)
    lost = ~x.flatten(1).isfinite().all(1)
    if lost.any():
        first = int(lost.nonzero()[0])
        what = "has" if int(lost.sum()) == 1 else "have"
        message = f"{int(lost.sum())} of {len(x)} rows {what} NaN or infinite entries in float32"
        raise InputError(f"--data {name}: {message}, row {first} first")
    return x


def _of_a_dataset(name: str) -> Given:
    known = registry.names("dataset")
    if name not in known:
        message = f"there is no file and no dataset {name!r}; {allowed_and_nearest(name, known)}"
        raise InputError(f"--data: {message}")
    try:
        dataset: Dataset = registry.build("dataset", registry.resolve("dataset", name))
    except UnresolvedError as error:
        raise InputError(f"--data {name}: {error}") from None
    splits, source = dataset.read(), generator(0, "probe inputs")
    test = dataset.prepare(splits.test, source)
    lowest, highest = dataset.prepare(splits.train, source).aminmax(dim=0)
    said = f"the test split of {name}"
    return Given(test, lowest, highest, dataset.low, dataset.high, said)


def joined(words: Iterable[str]) -> str:
    """``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
