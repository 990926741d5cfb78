"""What a query gave; on its own, so that whoever only draws tables need not import DuckDB."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """What a query gave.

    Attributes:
        columns: Names, in order; they need not be unique.
        types: DuckDB's names of their types.
        rows: One tuple per row, of Python values; NaN and ±inf are floats, NULL is ``None``.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
