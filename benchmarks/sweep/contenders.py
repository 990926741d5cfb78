"""Ways to run the same 64 cells; each from nothing to the last commit, start-up included."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE_FILE = Path(__file__).parent / "suite.yaml"
SLOTS = 2
CELL_PROCESS = f'"{sys.executable}" -m benchmarks.sweep.cell_file'


@dataclass(frozen=True)
class Place:
    """Where a contender works: a folder that is its own, with the cells as files.

    Attributes:
        cells: Folder of the cells' files.
        store: Where it commits.
        scratch: For all else.
    """

    cells: Path
    store: Path
    scratch: Path


@dataclass(frozen=True)
class Contender:
    """A command.

    Attributes:
        name: As the table shows it.
        target: How many times as fast ``innbench run`` should be.
        command: Of a place.
        rounds: How often it is run.
    """

    name: str
    target: float | None
    command: Callable[[Place], list[str]]
    rounds: int = 1

    def run(self, place: Place) -> None:
        """Run it to its end.

        Raises:
            RuntimeError: It failed; with the end of what it said.
        """
        log = place.scratch / "log"
        with log.open("w") as output:
            code = subprocess.run(
                self.command(place), cwd=ROOT, stdout=output, stderr=output, check=False
            ).returncode
        if code:
            said = "\n".join(log.read_text().splitlines()[-30:])
            raise RuntimeError(f"{self.name} ended with {code}:\n{said}")


def _innbench(place: Place) -> list[str]:
    command = Path(sys.executable).parent / "innbench"
    store = ["--store", str(place.store), "--workers", str(SLOTS)]
    return [str(command), "run", str(SUITE_FILE), *store]


def _shell_loop(place: Place) -> list[str]:
    loop = f'for cell in "$1"/*; do {CELL_PROCESS} "$cell" "$2" || exit 1; done'
    return ["sh", "-c", loop, "loop", str(place.cells), str(place.store)]


def _xargs(place: Place) -> list[str]:
    each = f"xargs -P {SLOTS} -I CELL {CELL_PROCESS} CELL"
    loop = f"""printf '%s\\n' "$1"/* | {each} "$2" """
    return ["sh", "-c", loop, "loop", str(place.cells), str(place.store)]


def _ray_tune(*options: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        paths = [str(place.cells), str(place.store), str(place.scratch / "ray"), str(SLOTS)]
        return [sys.executable, "-m", "benchmarks.sweep.ray_tune", *paths, *options]

    return command


INNBENCH = Contender("innbench run", None, _innbench)
CONTENDERS = (
    Contender("a process a cell, in turn", 6.0, _shell_loop),
    Contender(f"a process a cell, {SLOTS} at a time", None, _xargs),
    Contender(f"Ray Tune {version('ray')}", 10.0, _ray_tune(), rounds=3),
    Contender(f"Ray Tune {version('ray')}, actors reused", None, _ray_tune("--reuse-actors")),
)
"""Of the processes, the sequential loop has the target; of Tune, its defaults."""
