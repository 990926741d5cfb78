"""A board for the terminal, for a page and for programs."""

import csv
import io
import json
import math
from pathlib import Path

import pytest

from harness.leaderboard.board import leaderboard
from harness.leaderboard.render import render
from harness.leaderboard.rows import Board
from tests.leaderboard.test_board import cell, plan
from tests.results.records import fill


@pytest.fixture
def board(tmp_path: Path) -> Board:
    cells = [cell("good(a|b)", seed=s, error=10.0 ** -(4 + s)) for s in range(2)]
    cells += [cell("dead(x)[red]", seed=s, error=math.nan, share=1.0) for s in range(2)]
    cells += [cell("late", error=1e-2)]
    cells += [cell("silent", seed=s, error=None) for s in range(2)]
    names = ("good(a|b)", "dead(x)[red]", "late", "silent", "no")
    planned = plan(cell(n, seed=s) for n in names for s in range(2))
    return leaderboard(fill(tmp_path, "demo", cells), "demo", planned)


@pytest.mark.parametrize("width", [200, 120, 110, 90, 80, 40])
def test_a_terminal_of_any_width_shows_every_entrant(board: Board, width: int) -> None:
    shown = render(board, "table", width)
    for words in (
        "demo: stability",
        "3.2e-5",
        "(1.0e-5–1.0e-4)",
        "none finite",
        "not measured",
        "1/2 *",
        "0/2 *",
        "(34–100)",
        "dead(x)[red]",
        "+ none",
        "bits/",
    ):
        assert words in shown.split("- rank:")[0]
    assert all(len(line) <= max(width, 80) for line in shown.split("\n"))
    assert "…" not in shown
    table, notes = shown.split("- rank:")
    assert ("T=2, %" in table) == ("left out for" not in notes) == (width >= 110)


def test_markdown_is_a_table_of_equal_rows(board: Board) -> None:
    text = render(board, "md")
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    main = lines[: 2 + len(board.rows)]
    cuts = {len(line.replace("\\|", "").split("|")) for line in main}
    assert len(cuts) == 1
    assert "good(a\\|b)" in text
    assert board.sql.strip() in text
    for note in board.footnotes:
        assert "- " + note.replace("*", "\\*") in text


def test_json_has_everything_and_is_json(board: Board) -> None:
    def never(constant: str) -> float:
        raise AssertionError(constant)

    found = json.loads(render(board, "json"), parse_constant=never)
    assert found["bootstrap_seed"] == 0
    assert found["sql"] == board.sql
    assert [row["entrant"]["architecture"] for row in found["rows"]] == [
        row.entrant.architecture for row in board.rows
    ]
    dead = next(r for r in found["rows"] if r["entrant"]["architecture"] == "dead(x)[red]")
    assert dead["off_error"]["value"] == "nan"
    assert len(found["details"]) == 5


def test_csv_has_numbers_in_full(board: Board) -> None:
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    assert [row["architecture"] for row in rows] == [r.entrant.architecture for r in board.rows]
    assert float(rows[0]["off_error"]) == board.rows[0].off_error.value
    assert float(rows[0]["off_error_low"]) == board.rows[0].off_error.low
    assert {row["complete"] for row in rows} == {"True", "False"}
