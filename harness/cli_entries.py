"""The verbs of what there is: ``innbench list`` and ``innbench check``."""

import json
import shlex
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

from harness.cli_output import JsonOption, say, suggest
from harness.errors import InputError
from harness.results.render import drawing


def list_entries(
    axis: Annotated[
        str | None, typer.Argument(help="task, architecture, regularizer, dataset, probe, …")
    ] = None,
    bounds: Annotated[
        bool, typer.Option("--bounds", help="Of architectures and their blocks: which are bounded.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what a suite can name: the entries of one axis, or of all, and the suites that ship."""
    if bounds:
        _list_bounds(axis, as_json=as_json)
        return
    from harness.listing import listing  # noqa: PLC0415 - imports torch

    listed = listing(axis)
    if as_json:
        say(json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
        return
    table = RichTable(box=None, pad_edge=False)
    for column in ("axis", "name", "version", "from", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for row in listed:
        version = "" if row["version"] is None else str(row["version"])
        table.add_row(row["axis"], row["name"], version, row["origin"], _described(row))
    say(drawing(table))
    suggest("innbench plan quickstart")


def _described(row: dict[str, Any]) -> str:
    if not row["presets"]:
        return str(row["summary"])
    return f"{row['summary']} Presets: {', '.join(row['presets'])}."


def _list_bounds(axis: str | None, *, as_json: bool) -> None:
    from harness.bounds_table import as_plain, as_text, bounds_table  # noqa: PLC0415 - imports torch

    if (axis or "architecture").removesuffix("s") != "architecture":
        raise InputError(f"--bounds is of architectures, not of {axis!r}")
    rows = bounds_table()
    if as_json:
        say(json.dumps(as_plain(rows), indent=2, ensure_ascii=False) + "\n")
        return
    say(as_text(rows))
    suggest("innbench check affine", "innbench plan quickstart")


def check(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="An architecture, a part of one, or module:factory."),
    ],
    shape: Annotated[
        str | None, typer.Option(help="Of one input: 2, or 1,8,8; the smallest if left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that an invertible network is one: round trips, log-dets, bounds, packs, state."""
    from harness import checking  # noqa: PLC0415 - imports torch

    subject = checking.named(name, shape)
    rows = checking.run(subject, Console(stderr=True))
    if as_json:
        say(json.dumps(checking.as_plain(subject, rows), indent=2, ensure_ascii=False) + "\n")
    else:
        say(checking.as_text(subject, rows))
    passed = all(row.passed for row in rows)
    suggest(
        "innbench list architectures --bounds"
        if passed
        else f"innbench check {shlex.quote(name)} --json"
    )
    raise typer.Exit(0 if passed else 1)
