"""Lipschitz constants on the board: bound beside measured."""

import csv
import io
import json
import math
from pathlib import Path

import pytest

from harness.leaderboard.board import leaderboard
from harness.leaderboard.render import render
from harness.leaderboard.rows import Board, Constant
from harness.record import CellRecord
from tests.leaderboard.test_board import cell, said
from tests.results.records import fill, measurement, with_measurements


def measured(
    architecture: str,
    *,
    forward: tuple[float, float] = (1.0, 2.0),
    inverse: tuple[float, float] = (1.0, math.inf),
    unresolved: float = 0.0,
    seed: int = 0,
    dataset: str = "digits",
) -> CellRecord:
    """A cell with (measured, bound) of both maps."""
    found = {
        ("forward_worst", "test"): forward[0],
        ("bound_forward", "none"): forward[1],
        ("inverse_worst", "test"): inverse[0],
        ("bound_inverse", "none"): inverse[1],
        ("unresolved_fraction", "test"): unresolved,
    }
    return with_measurements(
        cell(architecture, dataset, seed),
        *(measurement("bi_lipschitz", *key, v, "float64") for key, v in found.items()),
    )


@pytest.fixture
def board(tmp_path: Path) -> Board:
    cells = [
        measured("held", forward=(1.5, 2.0), seed=0),
        measured("held", forward=(1.0, 8.0), seed=1, dataset="rings"),
        measured("wrong", forward=(2.5, 2.0), inverse=(3.0, 1.0)),
        measured("lost", forward=(math.nan, math.inf), inverse=(math.nan, math.nan)),
        cell("silent"),
    ]
    return leaderboard(fill(tmp_path, "demo", cells), "demo")


def constants(board: Board, name: str) -> tuple[Constant | None, Constant | None]:
    (row,) = (row for row in board.rows if row.entrant.architecture == name)
    return row.forward, row.inverse


def test_the_largest_of_all_cells_and_how_near_one_came_to_its_own_bound(board: Board) -> None:
    forward, inverse = constants(board, "held")
    assert forward == Constant(measured=1.5, bound=8.0, closest=0.75, violated=0, unresolved=0)
    assert inverse is not None
    assert (inverse.measured, inverse.bound, inverse.violated) == (1.0, math.inf, 0)
    assert math.isnan(inverse.closest)
    alone = [d for d in board.details if d.entrant.architecture == "held" and d.dataset == "rings"]
    assert [d.forward for d in alone] == [Constant(1.0, 8.0, 0.125, 0, 0)]


def test_what_is_not_finite_is_shown_as_it_is(board: Board) -> None:
    forward, inverse = constants(board, "lost")
    assert forward is not None
    assert inverse is not None
    assert math.isnan(forward.measured)
    assert forward.bound == math.inf
    assert math.isnan(inverse.bound)
    assert constants(board, "silent") == (None, None)
    page = render(board, "md").split("## Bound beside measured")[1]
    assert "| lost | none | nan | inf | – | nan | nan | – |" in page
    assert "| silent | none | – | – | – | – | – | – |" in page


def test_one_bound_that_is_nan_is_none_of_all(tmp_path: Path) -> None:
    cells = [measured("half", forward=(1.0, b), seed=s) for s, b in enumerate((2.0, math.nan))]
    forward, _ = constants(leaderboard(fill(tmp_path, "demo", cells), "demo"), "half")
    assert forward is not None
    assert math.isnan(forward.bound)
    assert (forward.measured, forward.closest) == (1.0, 0.5)


def test_what_was_lost_in_rounding_is_marked(tmp_path: Path) -> None:
    cells = [
        measured("steep", inverse=(1e20, math.inf), unresolved=0.1, seed=0),
        measured("steep", inverse=(5.0, math.inf), seed=1),
    ]
    board = leaderboard(fill(tmp_path, "demo", cells), "demo")
    _, inverse = constants(board, "steep")
    assert inverse is not None
    assert inverse.unresolved == 1
    assert "1.0e20 ~" in render(board, "table")
    assert said(board, "~ some σ min")


def test_a_violated_bound_is_the_first_that_is_said(board: Board) -> None:
    assert [note.split(":")[0] for note in board.footnotes[:2]] == ["‼ BOUND VIOLATED"] * 2
    assert "wrong + none, forward, in 1 of 1 cells" in board.footnotes[0]
    assert "wrong + none, inverse, in 1 of 1 cells" in board.footnotes[1]
    assert not said(board, "held + none")
    assert not said(board, "~ some")
    for form in ("md", "table"):
        shown = render(board, form)
        assert shown.count("2 ‼") == 1
        assert shown.count("1 ‼") == 1


def test_each_map_has_its_own_violations(tmp_path: Path) -> None:
    cells = [
        measured("a", forward=(3.0, 2.0), inverse=(1.0, 1.0)),
        measured("b", forward=(1.0, 2.0), inverse=(3.0, 1.0)),
    ]
    board = leaderboard(fill(tmp_path, "demo", cells), "demo")
    found = {name: [one and one.violated for one in constants(board, name)] for name in "ab"}
    assert found == {"a": [1, 0], "b": [0, 1]}


@pytest.mark.parametrize("width", [200, 100, 80, 40])
def test_a_terminal_shows_the_second_table_whole(board: Board, width: int) -> None:
    shown = render(board, "table", width)
    assert "…" not in shown
    assert shown.index("demo: stability") < shown.index("demo: bound beside measured")
    table = shown.split("bound beside measured")[1].split("- ‼")[0]
    for name in ("held", "wrong", "lost", "silent", "1/σ min,", "closest,", "75", "inf", "nan"):
        assert name in table
    assert all(len(line) <= max(width, 80) for line in shown.split("\n"))


def test_programs_read_it_too(board: Board) -> None:
    rows = {row["architecture"]: row for row in csv.DictReader(io.StringIO(render(board, "csv")))}
    assert (rows["held"]["forward_measured"], rows["held"]["forward_bound"]) == ("1.5", "8.0")
    assert (rows["held"]["inverse_bound"], rows["lost"]["inverse_bound"]) == ("inf", "nan")
    assert rows["wrong"]["inverse_violated"] == "1"
    assert rows["silent"]["forward_bound"] == ""
    found = {
        row["entrant"]["architecture"]: row for row in json.loads(render(board, "json"))["rows"]
    }
    assert found["wrong"]["forward"] == {
        "measured": 2.5,
        "bound": 2.0,
        "closest": 1.25,
        "violated": 1,
        "unresolved": 0,
    }
    assert found["held"]["inverse"]["bound"] == "inf"
    assert found["silent"]["forward"] is None


def test_without_the_probe_there_is_no_second_table(tmp_path: Path) -> None:
    board = leaderboard(fill(tmp_path, "demo", [cell("silent")]), "demo")
    for form in ("md", "table"):
        assert "eside measured" not in render(board, form)
    assert not said(board, "σ max")
