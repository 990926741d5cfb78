"""One cell as a file, and to run it alone: what the contenders' processes and trials share.

``python -m benchmarks.sweep.cell_file CELL STORE`` is a process of the shell loop. It calls the
function that a sweep's worker calls, without the command line, planning and Ray before it: that
is the leanest process a cell that the package allows.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from harness.worker import Conditions, run_pack

SUITE = "bench"


def write(folder: Path, cells: Iterable[tuple[str, str]]) -> None:
    """A file for each cell's id and specification; their names sort as the cells are given."""
    for number, (cell_id, specification) in enumerate(cells):
        (folder / f"{number:03}.json").write_text(json.dumps([cell_id, specification]))


def run(file: str, store: str) -> None:
    """Run the cell on one thread and commit it.

    Raises:
        RuntimeError: It left no result.
    """
    cell_id, specification = json.loads(Path(file).read_text())
    (outcome,) = run_pack([(cell_id, specification)], SUITE, store, Conditions(), 1)
    if outcome.message:
        raise RuntimeError(f"{cell_id}: {outcome.message}")


if __name__ == "__main__":
    run(*sys.argv[1:])
