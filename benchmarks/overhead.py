"""What the harness adds to a cell: cells whose work is nothing but the commit of a small record.

Against a bare ``ray.get`` of as many no-op tasks, on the same two-slot Ray, in rounds in turn.
"""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.progress import say
from benchmarks.row import Row
from harness.cluster.ray_executor import RayExecutor
from harness.cluster.schedule import schedule
from harness.record import CellRecord, CurvePoint, Measurement, Status
from harness.results.ledger import committed
from harness.results.writer import commit

CELLS, ROUNDS = 200, 7


def record() -> CellRecord:
    """As large as a quickstart cell's: 200 measurements, 93 points of a curve."""
    measurements = [
        Measurement.of("probe", f"metric_{n}", "test", "float32", n / 7, 256, 300)
        for n in range(200)
    ]
    curve = [CurvePoint(10 * n, m, n / 3) for n in range(31) for m in ("loss", "norm", "rate")]
    names = ("density", "affine", "affine", "none", "none", "checkerboard", "checkerboard")
    return CellRecord(
        "cell",
        Status.OK,
        '{"identity":1}',
        *names,
        seed=0,
        steps=300,
        train_seconds=1.0,
        probe_seconds=1.0,
        finished_ms=0,
        provenance="{}",
        measurements=tuple(measurements),
        curve=tuple(curve),
    )


RECORD = record()


def work(number: int, store: str, attempt: int) -> bool:
    return commit(Path(store), "bench", replace(RECORD, cell_id=f"cell-{number}"))


def nothing(number: int) -> int:
    return number


def rows(most_rounds: int | None = None) -> list[Row]:
    excess, ours, bare_rates = [], [], []
    count = min(ROUNDS, most_rounds or ROUNDS)
    with RayExecutor(work, None, 2, cpus=1, gpus=0) as executor:
        import ray  # noqa: PLC0415 - after the executor has set what Ray reads at its import

        bare = ray.remote(num_cpus=1)(nothing)
        for number in range(count + 1):
            with tempfile.TemporaryDirectory() as store:
                begun = time.perf_counter()
                ray.get([bare.remote(n) for n in range(CELLS)])
                middle = time.perf_counter()
                ended = list(schedule([(n, store) for n in range(CELLS)], executor))
                done = time.perf_counter()
                if len(committed(Path(store), "bench")) != CELLS or not all(
                    e.result for e in ended
                ):
                    raise AssertionError("not every cell was committed")
            if number:  # the first round starts the workers
                excess.append(1000 * ((done - middle) - (middle - begun)) / CELLS)
                ours.append(CELLS / (done - middle))
                bare_rates.append(CELLS / (middle - begun))
                say(f"overhead: round {number} of {count}")
    row = Row(
        group="overhead",
        subject="a scheduled cell with its commit",
        contender="bare ray.get",
        setting=f"{CELLS} no-op cells",
        members=1,
        unit="ms",
        values=tuple(excess),
        target=5.0,
        better="lower",
        rate=statistics.median(ours),
        contender_rate=statistics.median(bare_rates),
        rate_unit="cells/s",
    )
    return [row]
