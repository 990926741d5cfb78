"""``python -m benchmarks [GROUP …]``: run the groups, print one table, write Parquet."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import overhead, probes, results, spectra
from benchmarks.backpropagation import compare as backpropagation
from benchmarks.inverse import compare as inverse
from benchmarks.sweep import compare as sweep
from benchmarks.table import table
from benchmarks.training import compare as training

GROUPS = {
    "training": training.rows,
    "backpropagation": backpropagation.rows,
    "inverse": inverse.rows,
    "spectra": spectra.rows,
    "probes": probes.rows,
    "sweep": sweep.rows,
    "overhead": overhead.rows,
}
WIDTH = 120


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; or all")
    parser.add_argument("--rounds", type=int, help="at most so many rounds: to see that it works")
    parser.add_argument("--output", type=Path, default=Path("build/bench.parquet"))
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds is at least 1")
    rows = [
        row
        for group, measure in GROUPS.items()
        if not arguments.groups or group in arguments.groups
        for row in measure(arguments.rounds)
    ]
    Console(width=WIDTH).print(table(rows), highlight=False)
    results.write(rows, arguments.output)
    missed = sum(row.met is False for row in rows)
    print(f"{len(rows)} rows, {missed} targets missed; written: {arguments.output}")
    if arguments.rounds:
        print("fewer rounds than a measurement takes: no figures to quote", file=sys.stderr)


main()
