"""Run every benchmark, print one table, write ``build/bench.json``."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import overhead, training_step
from benchmarks.row import Row

OUTPUT = Path("build/bench.json")


def main() -> None:
    rows: list[Row] = []
    for benchmark in (training_step, overhead):
        rows += benchmark.rows()
    table = Table("name", "ratio", "target", "better", "met", box=None)
    for row in rows:
        table.add_row(row.name, f"{row.ratio:.3g}", f"{row.target:g}", row.better, row.verdict())
    Console(width=120).print(table)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print(f"written: {OUTPUT}")


main()
