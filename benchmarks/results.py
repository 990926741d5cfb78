"""The benchmark's results as Parquet: one row for each line of the table.

===================== ==============================================================
column                what it holds
===================== ==============================================================
group                 ``training``, ``backpropagation``, ``inverse``, ``spectra``,
                      ``probes``, ``sweep`` or ``overhead``
subject               what of innbench is measured: a pack, ``innbench run``, …
contender             against what
setting               flow, width and batch, or how many cells, or which g
members               networks that the subject trains at once
unit                  ``×``: how many times as fast the subject is, or how many
                      times fewer evaluations it takes, or as long as the probes;
                      ``ms``: how much longer it takes for one cell; ``s``: how long
median, lowest,       of the rounds; the median is held against the target
highest
values                the figure of each round
target                null where nothing was set
better                ``higher`` or ``lower``
met                   null without a target
rate, contender_rate  median throughput of both
rate_unit             ``member-steps/s``, ``samples/s`` or ``cells/s``
parameters,           of one network; where they differ, so do the flows, and
contender_parameters  ``benchmarks/training/peers`` says how
threads               that each side computes with
processor, cores      the machine
python, torch, ray,   versions
innbench
date                  day of the run, UTC
===================== ==============================================================
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import machine
from benchmarks.row import Row

THREADS = {
    **dict.fromkeys(("training", "backpropagation", "inverse", "spectra", "probes"), 1),
    **dict.fromkeys(("sweep", "overhead"), 2),
}
"""Of a sweep: two cells at a time with one thread each, except for the loop in turn."""

SCHEMA = pa.schema(
    [
        *[pa.field(name, pa.string()) for name in ("group", "subject", "contender", "setting")],
        pa.field("members", pa.int32()),
        pa.field("unit", pa.string()),
        *[pa.field(name, pa.float64()) for name in ("median", "lowest", "highest")],
        pa.field("values", pa.list_(pa.float64())),
        pa.field("target", pa.float64()),
        pa.field("better", pa.string()),
        pa.field("met", pa.bool_()),
        pa.field("rate", pa.float64()),
        pa.field("contender_rate", pa.float64()),
        pa.field("rate_unit", pa.string()),
        pa.field("parameters", pa.int64()),
        pa.field("contender_parameters", pa.int64()),
        pa.field("threads", pa.int32()),
        pa.field("processor", pa.string()),
        pa.field("cores", pa.int32()),
        *[pa.field(name, pa.string()) for name in ("python", "torch", "ray", "innbench")],
        pa.field("date", pa.date32()),
    ]
)


def write(rows: Sequence[Row], path: Path) -> None:
    """Write the rows with the machine they were measured on."""
    common = {**machine(), "date": datetime.now(UTC).date()}
    records = [
        {
            **asdict(row),
            "median": row.median,
            "lowest": min(row.values),
            "highest": max(row.values),
            "met": row.met,
            "threads": THREADS[row.group],
            **common,
        }
        for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), path)
