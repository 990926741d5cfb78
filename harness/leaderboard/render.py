"""A board for the terminal, for a page and for programs."""

import math
from collections.abc import Callable
from dataclasses import asdict
from json import dumps
from textwrap import fill
from typing import Literal

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from harness.leaderboard.footnotes import INCOMPLETE, LEFT_OUT, UNRESOLVED, VIOLATED
from harness.leaderboard.rows import Board, Constant, Detail, Estimate, Row
from harness.results.render import (
    as_csv,
    drawing,
    jsonable,
    least_width,
    longest_line,
    printable,
    terminal_width,
)
from harness.results.table import Table

Format = Literal["table", "md", "csv", "json"]
_NONE = "–"
_UNITS = {
    "bits_per_dim": "bits/dim",
    "cross_entropy": "cross-entropy, nats",
    "mean_squared_error": "squared error",
    "negative_log_likelihood": "NLL, nats",
}
_TEXT_COLUMNS = {"architecture", "regularizer", "settings", "dataset"}
_FIRST_TO_GO = ("test error, L2", "blown up at T=2, %")
_CONSTANT = tuple(Constant.__dataclass_fields__)
_WRITTEN_OUT = (1e-2, 1e3)
_STACKED = {
    "rank (95 %)": "rank\n(95 %)",
    "off-distribution error, L2 (95 %)": "off-distri-\nbution error,\nL2 (95 %)",
    "test error, L2": "test\nerror,\nL2",
    "non-finite, % (worst)": "non-\nfinite,\n% (worst)",
    "failed cells, % (95 %)": "failed\ncells,\n% (95 %)",
    "blown up at T=2, %": "blown\nup at\nT=2, %",
    "bits/dim": "bits/\ndim",
    "cross-entropy, nats": "cross-\nentropy,\nnats",
    "squared error": "squared\nerror",
    "NLL, nats": "NLL,\nnats",
    "σ max, measured": "σ max,\nmeasured",
    "σ max, bound": "\nbound",
    "σ max, closest, %": "closest,\n%",
    "1/σ min, measured": "1/σ min,\nmeasured",
    "1/σ min, bound": "\nbound",
    "1/σ min, closest, %": "closest,\n%",
}


def render(board: Board, form: Format = "table", width: int | None = None) -> str:
    """The board as text that ends with a newline; ``width`` is that of the terminal."""
    if form == "json":
        return dumps(jsonable(asdict(board)), indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        return as_csv(_flat(board))
    return _markdown(board) if form == "md" else _terminal(board, width)


def _main(board: Board) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table for people."""
    settings = any(row.entrant.settings for row in board.rows)
    metrics = {row.task_metric for row in board.rows if row.task_metric}
    metric = metrics.pop() if len(metrics) == 1 else ""
    header = ["rank (95 %)", "architecture", "regularizer"]
    header += ["settings"] * settings
    header += ["off-distribution error, L2 (95 %)", "test error, L2"]
    header += ["non-finite, % (worst)", "failed cells, % (95 %)", "blown up at T=2, %"]
    header += [_UNITS.get(metric, metric)] * bool(metric)
    header += ["cells"]
    return header, [_cells(row, settings, bool(metric)) for row in board.rows]


def _cells(row: Row, settings: bool, metric: bool) -> list[str]:
    who, rate = row.entrant, row.failure_rate
    cells = [_estimate(row.rank, "{:.2f}".format), who.architecture, who.regularizer]
    cells += [who.settings] * settings
    worst = f" ({_percent(row.worst_non_finite)})" if row.done else ""
    percent = Estimate(100 * rate.value, 100 * rate.low, 100 * rate.high)
    cells += [_error(row), _number(row.test_error, _power), _percent(row.non_finite) + worst]
    cells += [_estimate(percent, "{:.0f}".format), _percent(row.blown_up)]
    lost = f" ({row.task_not_finite} not finite)" if row.task_not_finite else ""
    cells += [_number(row.task_score, _score) + lost] * metric
    mark = "" if row.complete else f" {INCOMPLETE}"
    return [*cells, f"{row.done}/{row.planned}{mark}"]


def _error(row: Row) -> str:
    if math.isnan(row.off_error.value):
        if not row.done:
            return _NONE
        return "none finite" if row.measured or row.failed else "not measured"
    mark = f" {LEFT_OUT}" if row.left_out else ""
    return _estimate(row.off_error, _power) + mark


def _bounds(board: Board) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of bounds; no rows where nothing of it was measured."""
    settings = any(row.entrant.settings for row in board.rows)
    header = ["architecture", "regularizer"]
    header += ["settings"] * settings
    header += [
        f"{name}, {what}"
        for name in ("σ max", "1/σ min")
        for what in ("measured", "bound", "closest, %")
    ]
    rows = []
    for row in board.rows:
        who = row.entrant
        named = [who.architecture, who.regularizer, *[who.settings] * settings]
        rows.append([*named, *_constant(row.forward), *_constant(row.inverse)])
    measured = any(row.forward or row.inverse for row in board.rows)
    return header, rows if measured else []


def _constant(constant: Constant | None) -> list[str]:
    if constant is None:
        return [_NONE] * 3
    lost = f" {UNRESOLVED}" if constant.unresolved else ""
    mark = f" {VIOLATED}" if constant.violated else ""
    return [
        _size(constant.measured) + lost,
        _size(constant.bound) + mark,
        _percent(constant.closest),
    ]


def _details(details: tuple[Detail, ...]) -> tuple[list[str], list[list[str]]]:
    settings = any(d.entrant.settings for d in details)
    header = ["dataset", "rank", "architecture", "regularizer"]
    header += ["settings"] * settings
    header += ["off-distribution error, L2", "test error, L2", "non-finite, %", "failed", "score"]
    header += ["cells"]
    rows = []
    for d in sorted(details, key=lambda d: d.dataset):
        row = [
            d.dataset,
            _number(d.rank, "{:g}".format),
            d.entrant.architecture,
            d.entrant.regularizer,
        ]
        row += [d.entrant.settings] * settings
        row += [_number(d.off_error, _power), _number(d.test_error, _power)]
        unit = f" {_UNITS.get(d.task_metric, d.task_metric)}" if d.task_metric else ""
        row += [
            _percent(d.non_finite),
            str(d.failed),
            _number(d.task_score, _score) + unit,
        ]
        rows.append([*row, f"{d.done}/{d.planned}"])
    return header, rows


def _terminal(board: Board, width: int | None) -> str:
    """Both tables with narrow columns; where room is short :func:`_main` leaves some out."""
    columns = terminal_width() if width is None else width
    names, rows = _main(board)
    title = f"{board.suite}: stability"
    left_out: list[str] = []
    drawn = _drawn(title, board, names, rows, left_out)
    if columns < least_width(drawn):
        left_out = [name for name in names if name in _FIRST_TO_GO]
        drawn = _drawn(title, board, names, rows, left_out)
    notes = list(board.footnotes)
    if left_out:
        notes.append(f"left out for want of width: {'; '.join(left_out)}.")
    hanging = [fill(f"- {note}", max(columns, 40), subsequent_indent="  ") for note in notes]
    shown = drawing(drawn, columns)
    names, rows = _bounds(board)
    if rows:
        title = f"{board.suite}: bound beside measured"
        shown += drawing(_drawn(title, board, names, rows, []), columns)
    return shown + "\n".join(hanging) + "\n"


def _drawn(
    title: str, board: Board, names: list[str], rows: list[list[str]], left_out: list[str]
) -> RichTable:
    shown = [name for name in names if name not in (*left_out, *_TEXT_COLUMNS)]
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title)
    drawn.add_column("architecture\n+ regularizer", min_width=13, overflow="fold")
    lines = [[cell.replace(" (", "\n(").replace(" not ", " not\n") for cell in row] for row in rows]
    for name in shown:
        head, place = _STACKED.get(name, name), names.index(name)
        longest = longest_line([head, *(row[place] for row in lines)])
        drawn.add_column(Text(head), justify="right", min_width=longest, no_wrap=True)
    for row, stacked in zip(board.rows, lines, strict=True):
        who = row.entrant
        named = printable(f"{who.architecture}\n+ {who.regularizer}\n{who.settings}".rstrip())
        drawn.add_row(*[Text(t) for t in (named, *(stacked[names.index(n)] for n in shown))])
    return drawn


def _markdown(board: Board) -> str:
    parts = [f"# {board.suite}: stability", _pipe(*_main(board))]
    header, rows = _bounds(board)
    if rows:
        parts += ["## Bound beside measured", _pipe(header, rows), "## Notes"]
    parts.append("\n".join("- " + note.replace("*", "\\*") for note in board.footnotes))
    parts += ["## By dataset", _pipe(*_details(board.details))]
    parts += ["## SQL", f"```sql\n{board.sql.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _pipe(header: list[str], rows: list[list[str]]) -> str:
    rule = [":---" if name in _TEXT_COLUMNS else "---:" for name in header]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)


def _escaped(text: str) -> str:
    for character in "\\|*_<`[":
        text = text.replace(character, "\\" + character)
    return printable(text).replace("\n", " ")


def _flat(board: Board) -> Table:
    """Every number of the rows in full, one column each."""
    rows = []
    for row in board.rows:
        flat: dict[str, object] = {}
        for name, value in asdict(row).items():
            if name == "entrant":
                flat |= value
            elif name in ("forward", "inverse"):
                flat |= {f"{name}_{key}": value and value[key] for key in _CONSTANT}
            elif isinstance(value, dict):
                flat |= {name: value["value"], f"{name}_low": value["low"]}
                flat |= {f"{name}_high": value["high"]}
            else:
                flat[name] = value
        rows.append(flat)
    columns = tuple(rows[0])
    return Table(columns, ("",) * len(columns), tuple(tuple(row.values()) for row in rows))


def _estimate(estimate: Estimate, form: Callable[[float], str]) -> str:
    shown = _number(estimate.value, form)
    if math.isnan(estimate.low) or math.isnan(estimate.value):
        return shown
    return f"{shown} ({form(estimate.low)}–{form(estimate.high)})"


def _percent(share: float) -> str:
    return _number(100 * share, "{:.3g}".format)


def _size(value: float) -> str:
    """Written out where that is short."""
    return f"{value:.3g}" if _WRITTEN_OUT[0] <= value < _WRITTEN_OUT[1] else _power(value)


def _score(value: float) -> str:
    """``3.572``; a squared error may be far below the last of these digits: ``5.2e-5``."""
    return _power(value) if 0 < abs(value) < _WRITTEN_OUT[0] else f"{value:.3f}"


def _power(value: float) -> str:
    """``1.5e-4``: without the zeros that fill an exponent up; ``inf`` and ``nan`` as they are."""
    if not math.isfinite(value):
        return str(value)
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def _number(value: float, form: Callable[[float], str]) -> str:
    return _NONE if math.isnan(value) else form(value)
