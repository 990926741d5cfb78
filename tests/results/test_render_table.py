"""A table as a person, a spreadsheet and a program read it."""

import csv
import datetime
import io
import json
import math
from decimal import Decimal

from harness.results.render import render
from harness.results.table import Table

TABLE = Table(
    ("name", "value", "value", "nested"),
    ("VARCHAR", "DOUBLE", "DOUBLE", "DOUBLE[]"),
    (
        ("a[red]", 1.23456789, math.nan, [1.0, math.inf]),
        ("line\nfeed, \x1b[31m", -math.inf, None, []),
    ),
)


def test_json_is_json_and_keeps_nan_inf_and_null_apart() -> None:
    def never(constant: str) -> float:
        raise AssertionError(constant)

    assert json.loads(render(TABLE, "json"), parse_constant=never) == [
        {"name": "a[red]", "value": 1.23456789, "value_2": "nan", "nested": [1.0, "inf"]},
        {"name": "line\nfeed, \x1b[31m", "value": "-inf", "value_2": None, "nested": []},
    ]


def test_json_has_words_for_every_type() -> None:
    row = (Decimal("1.5"), datetime.datetime(2026, 1, 2), {"a": math.nan}, b"x", True, 10**30)
    table = Table(tuple("abcdef"), ("",) * 6, (row,))
    (found,) = json.loads(render(table, "json"))
    assert found["a"] == "1.5"
    assert found["b"] == "2026-01-02 00:00:00"
    assert found["c"] == {"a": "nan"}
    assert found["e"] is True
    assert found["f"] == 10**30


def test_csv_comes_back() -> None:
    rows = list(csv.reader(io.StringIO(render(TABLE, "csv"))))
    assert rows == [
        ["name", "value", "value", "nested"],
        ["a[red]", "1.23456789", "nan", '[1.0, "inf"]'],
        ["line\nfeed, \x1b[31m", "-inf", "", "[]"],
    ]


def test_a_terminal_gets_text_and_no_commands() -> None:
    shown = render(TABLE, "table", width=100)
    assert "a[red]" in shown
    assert "\x1b" not in shown
    assert r"\x1b[31m" in shown
    assert "1.23457" in shown
    assert "NULL" in shown
    assert "-inf" in shown
    assert shown.endswith("2 rows\n")


def test_a_number_is_never_folded() -> None:
    table = Table(("a", "b"), ("VARCHAR", "BIGINT"), (("x" * 200, 123456789),))
    shown = render(table, "table", width=40)
    assert "123456789" in shown
    assert shown.count("x") == 200
    assert shown.endswith("1 row\n")


def test_no_rows_is_still_a_table() -> None:
    empty = Table(("a",), ("BIGINT",), ())
    assert render(empty, "json") == "[]\n"
    assert render(empty, "csv") == "a\n"
    assert render(empty, "table").endswith("0 rows\n")


def test_no_column_is_dropped_for_want_of_width() -> None:
    values = tuple(f"val{i:03d}" for i in range(30))
    table = Table(tuple(f"column_{i}" for i in range(30)), ("VARCHAR",) * 30, (values,))
    shown = render(table, "table", width=40)
    assert [value for value in values if value not in shown] == []
