"""The command ``innbench``: the verbs, thin. 0 done, 1 cells failed, 2 bad input."""

import json
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness import __version__, cli_diagnose, cli_entries
from harness.cli_output import JsonOption, say, suggest
from harness.errors import InputError

app = typer.Typer(
    name="innbench",
    help="Is this invertible neural network still invertible, and what keeps it so?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

SuiteArgument = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite file, or the name of one that ships.")
]
StoreOption = Annotated[Path, typer.Option(help="Folder of the results.", envvar="INNBENCH_STORE")]
AddressOption = Annotated[
    str | None, typer.Option(help="A running Ray cluster; a local Ray is started if left out.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Cells at a time on the local Ray; all cores by default.")
]
InlineOption = Annotated[
    bool, typer.Option("--inline", help="Run the cells in this process, without Ray.")
]

STORE = Path("results")


class BoardFormat(StrEnum):
    """How a leaderboard is written."""

    TABLE = "table"
    MD = "md"
    CSV = "csv"
    JSON = "json"


def main() -> None:
    """Entry point: bad input ends in sentences and exit code 2, never in a traceback."""
    try:
        app()
    except InputError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - a sentence, not a log
        sys.exit(2)


def _with_store(command: str, store: Path) -> str:
    return command if store == STORE else f"{command} --store {shlex.quote(str(store))}"


def _version(wanted: bool) -> None:
    if wanted:
        say(f"innbench {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def quickstart(store: StoreOption = STORE, inline: InlineOption = False) -> None:
    """Run the suite of that name and show its leaderboard: a minute or two on two cores."""
    failed = _run("quickstart", store, None, None, inline=inline)
    _leaderboard("quickstart", store, BoardFormat.TABLE)
    raise typer.Exit(1 if failed else 0)


app.command(name="list")(cli_entries.list_entries)
app.command()(cli_entries.check)
app.command()(cli_diagnose.diagnose)


@app.command()
def plan(
    suite: SuiteArgument,
    store: StoreOption = STORE,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time, for the time; all cores by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the cells of a suite, why each will run or not, its packs, and how long it takes."""
    from harness.planning import as_plain, as_text  # noqa: PLC0415 - imports torch
    from harness.suite.load import load  # noqa: PLC0415
    from harness.sweep import plan_suite, room_here  # noqa: PLC0415

    loaded = load(suite)
    planned = plan_suite(loaded, store)
    workers = workers or max(1, int((os.cpu_count() or 1) / loaded.resources.cpus))
    room = room_here(loaded, workers)
    if as_json:
        say(json.dumps(as_plain(planned, workers, room), indent=2, ensure_ascii=False) + "\n")
        return
    say(as_text(planned, workers, room))
    verb = "run" if planned.to_run else "leaderboard"
    suggest(_with_store(f"innbench {verb} {shlex.quote(suite)}", store))


@app.command()
def run(
    suite: SuiteArgument,
    store: StoreOption = STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    inline: InlineOption = False,
) -> None:
    """Run the cells of a suite that have no result yet, and rank it; the same command resumes."""
    if address and (workers or inline):
        raise InputError("--address joins a running cluster: leave out --workers and --inline")
    if inline and workers:
        raise InputError("--inline runs one cell at a time: leave out --workers")
    failed = _run(suite, store, address, workers, inline=inline)
    name = shlex.quote(suite)
    _leaderboard(suite, store, BoardFormat.TABLE)
    if failed:
        suggest(
            _with_store(f"innbench sql {shlex.quote(ATTEMPTS_SQL)}", store),
            _with_store(f"innbench run {name}", store),
        )
        raise typer.Exit(1)


ATTEMPTS_SQL = "select cell_id, status, message from attempts order by finished desc"


def _run(suite: str, store: Path, address: str | None, workers: int | None, *, inline: bool) -> int:
    """Run; how many cells are left without a result."""
    from harness import sweep  # noqa: PLC0415 - imports torch
    from harness.cluster.executor import ExecutorDiedError  # noqa: PLC0415
    from harness.progress import duration  # noqa: PLC0415
    from harness.suite.load import load  # noqa: PLC0415

    console = Console(stderr=True)
    loaded = load(suite)
    make = sweep.inline if inline else sweep.on_ray(address, workers)
    try:
        tally = sweep.run_suite(loaded, store, make, console)
    except ExecutorDiedError as error:
        console.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("interrupted: what had ended is kept; the same command goes on from there")
        raise typer.Exit(130) from None
    console.print(
        f"{tally.ran} cells done ({tally.diverged} diverged), {tally.failed} failed, "
        f"{tally.cached} done before, in {duration(tally.seconds)}",
        highlight=False,
    )
    return tally.failed


# SQL may begin with a comment, `-- …`, which is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def sql(
    query: Annotated[
        str, typer.Argument(metavar="SQL", help="One SELECT over the views; - reads it from stdin.")
    ],
    store: StoreOption = STORE,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
) -> None:
    """Query the results: cells, measurements, finite_measurements, layers, curves, attempts."""
    from harness.results.render import render  # noqa: PLC0415 - imports DuckDB
    from harness.results.sandbox import run_sql  # noqa: PLC0415

    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other")
    table = run_sql(store, sys.stdin.read() if query == "-" else query)
    say(render(table, "json" if as_json else "csv" if as_csv else "table", _width()))


@app.command()
def leaderboard(
    suite: SuiteArgument,
    store: StoreOption = STORE,
    form: Annotated[
        BoardFormat, typer.Option("--format", help="How it is written.")
    ] = BoardFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Rank a suite's entrants, with intervals and failure rates, and print the SQL behind it."""
    _leaderboard(suite, store, BoardFormat.JSON if as_json else form)


def _leaderboard(suite: str, store: Path, form: BoardFormat) -> None:
    from harness import registry  # noqa: PLC0415 - imports torch
    from harness.leaderboard.board import leaderboard as rank  # noqa: PLC0415
    from harness.leaderboard.entrants import PlannedCell  # noqa: PLC0415
    from harness.leaderboard.render import render  # noqa: PLC0415
    from harness.suite.load import load  # noqa: PLC0415

    loaded = load(suite)
    planned = [
        PlannedCell(
            cell_id=cell.id,
            architecture_label=registry.label("architecture", cell.architecture),
            regularizer_label=registry.label("regularizer", cell.regularizer),
            dataset_label=registry.label("dataset", cell.dataset),
            seed=cell.seed,
            specification=cell.specification(),
        )
        for cell in loaded.cells
    ]
    board = rank(store, loaded.suite.name, planned)
    if form is BoardFormat.TABLE:  # md and json hold the SQL themselves
        say(f"{board.sql.strip()}\n\n")
    say(render(board, form.value, _width()))
    if form is BoardFormat.TABLE:
        suggest(
            _with_store(f"innbench leaderboard {shlex.quote(suite)} --format md", store),
            _with_store("innbench sql 'from measurements limit 5'", store),
        )


@app.command()
def schema() -> None:
    """Print the JSON Schema of suite files, for editors."""
    from harness.suite.schema import json_schema  # noqa: PLC0415 - imports torch

    say(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")


def _width() -> int | None:
    """The terminal's width, or ``None`` where the output goes elsewhere."""
    return Console().width if sys.stdout.isatty() else None
