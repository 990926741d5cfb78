"""A table as a person, a spreadsheet or a program reads it."""

import csv
import io
import json
import math
from collections.abc import Iterable
from typing import Literal

from pydantic import JsonValue
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from harness.results.table import Table

Format = Literal["table", "json", "csv"]
_LEAST_TEXT = 6


def render(table: Table, form: Format = "table", width: int | None = None) -> str:
    """The whole table as text that ends with a newline; ``width`` is that of the terminal."""
    if form == "json":
        return as_json(table)
    return as_csv(table) if form == "csv" else as_table(table, width)


def as_json(table: Table) -> str:
    """A list of objects; NaN and ±inf, which JSON lacks, are ``"nan"``, ``"inf"``, ``"-inf"``.

    Of columns of one name all but the first get a number: ``value``, ``value_2``.
    """
    names = _unique(table.columns)
    rows = [dict(zip(names, map(jsonable, row), strict=True)) for row in table.rows]
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(table: Table) -> str:
    """A header and rows; numbers in full, NULL as an empty field, nested values as JSON."""
    sink = io.StringIO()
    out = csv.writer(sink, lineterminator="\n")
    out.writerow(table.columns)
    for row in table.rows:
        out.writerow(["" if value is None else _flat(value) for value in row])
    return sink.getvalue()


def as_table(table: Table, width: int | None = None) -> str:
    """For a terminal: floats to six digits, numbers to the right, the number of rows below."""
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    rows = [[_shown(value) for value in row] for row in table.rows]
    for place, (name, kind) in enumerate(zip(table.columns, table.types, strict=True)):
        right = _is_number(kind)
        longest = longest_line(row[place] for row in rows)
        drawn.add_column(
            Text(printable(name)),
            justify="right" if right else "left",
            overflow="fold",
            # Text may fold, a number never.
            min_width=max(1, longest if right else min(longest, _LEAST_TEXT)),
        )
    for row in rows:
        drawn.add_row(*[Text(cell) for cell in row])
    n = len(rows)
    return drawing(drawn, width) + f"{n} row{'' if n == 1 else 's'}\n"


def drawing(drawn: RichTable, width: int | None = None) -> str:
    """A rich table as plain text; without a width, that of the terminal.

    It gets as wide as it must: where room is short, rich would drop columns without a word. Text is
    shown as it is: not all of it is ours, and brackets or colons in it are no markup.
    """
    chosen = terminal_width() if width is None else width
    sink = io.StringIO()
    Console(
        file=sink,
        width=max(chosen, least_width(drawn)),
        color_system=None,
        markup=False,
        emoji=False,
        legacy_windows=False,
    ).print(drawn)
    return "\n".join(line.rstrip() for line in sink.getvalue().split("\n"))


def least_width(drawn: RichTable) -> int:
    """Columns below which a table would lose something: each ``min_width``, and what is between."""
    _, right, _, left = drawn.padding
    return sum((column.min_width or 1) + left + right + 1 for column in drawn.columns)


def longest_line(texts: Iterable[str]) -> int:
    """Columns that the longest line among these texts takes."""
    return max((cell_len(line) for text in texts for line in text.split("\n")), default=0)


def terminal_width() -> int:
    """Columns of the terminal; 120 where the output goes elsewhere."""
    console = Console()
    return console.width if console.is_terminal else 120


def jsonable(value: object) -> JsonValue:
    """A value in terms of JSON: NaN and ±inf as text, what JSON has no word for as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return str(value)


def printable(text: str) -> str:
    """Text without the characters that steer a terminal; line feeds stay."""
    return "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in text)


def _shown(value: object) -> str:
    if value is None:
        return "NULL"
    return f"{value:.6g}" if isinstance(value, float) else printable(str(_flat(value)))


def _flat(value: object) -> object:
    if isinstance(value, dict | list | tuple):
        return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False)
    return value


def _is_number(kind: str) -> bool:
    numbers = ("INT", "FLOAT", "DOUBLE", "DECIMAL", "UHUGEINT", "HUGEINT")
    return kind.startswith(numbers) or kind.endswith("INT")


def _unique(names: Iterable[str]) -> list[str]:
    taken: list[str] = []
    for name in names:
        chosen, n = name, 1
        while chosen in taken:
            n += 1
            chosen = f"{name}_{n}"
        taken.append(chosen)
    return taken
