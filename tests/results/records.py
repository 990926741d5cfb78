"""Records as a worker would commit them, of any content, and stores made of them."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha1
from pathlib import Path

from harness.record import (
    Attempt,
    CellRecord,
    CurvePoint,
    LayerMeasurement,
    Measurement,
    NumberStatus,
    Status,
)
from harness.results.writer import commit

Numbers = Mapping[tuple[str, str, str], float]
"""Values by (probe, metric, inputs)."""


def record(
    architecture: str = "affine",
    regularizer: str = "none",
    dataset: str = "digits",
    seed: int = 0,
    *,
    numbers: Numbers | None = None,
    training: Mapping[str, object] | None = None,
    status: Status = Status.OK,
) -> CellRecord:
    """A cell; the labels are the arguments, the names are what stands before a bracket."""
    content = {
        "identity": 1,
        "task": {"name": "density", "version": 1, "parameters": {}},
        "architecture": {
            "name": _name(architecture),
            "version": 1,
            "parameters": {},
        },
        "regularizer": {
            "name": _name(regularizer),
            "version": 1,
            "parameters": {},
        },
        "dataset": {"name": dataset, "version": 1, "parameters": {}},
        "training": dict(training or {"steps": 300}),
        "seed": seed,
    }
    of_a_layer = measurement("layers", "error", "test", value=math.nan)
    specification = json.dumps(content, sort_keys=True)
    digest = sha1((specification + architecture + regularizer).encode()).hexdigest()[:12]
    return CellRecord(
        cell_id=f"{_name(architecture)}_s{seed}-{digest}",
        status=status,
        specification=specification,
        task="density",
        architecture=_name(architecture),
        architecture_label=architecture,
        regularizer=_name(regularizer),
        regularizer_label=regularizer,
        dataset=dataset,
        dataset_label=dataset,
        seed=seed,
        steps=300,
        train_seconds=1.5,
        probe_seconds=0.25,
        finished_ms=1_700_000_000_000 + seed,
        provenance='{"torch":"2.13"}',
        measurements=tuple(
            measurement(*key, value=value) for key, value in (numbers or {}).items()
        ),
        layers=(LayerMeasurement.on(of_a_layer, 3, "ActNorm"),),
        curve=(CurvePoint(0, "loss", 2.5), CurvePoint(10, "loss", float("nan"))),
    )


def measurement(
    probe: str,
    metric: str,
    inputs: str,
    value: float,
    precision: str = "float32",
    step: int = 300,
) -> Measurement:
    return Measurement(probe, metric, inputs, precision, value, 256, step, NumberStatus.of(value))


def attempt(cell_id: str = "a-1", number: int = 1, finished_ms: int = 1000) -> Attempt:
    return Attempt(cell_id, number, Status.ERROR, "it broke", "Traceback …", "node-1", finished_ms)


def with_measurements(base: CellRecord, *more: Measurement) -> CellRecord:
    return replace(base, measurements=base.measurements + more)


def fill(store: Path, suite: str, records: Iterable[CellRecord]) -> Path:
    """Commit them all, and give back the store."""
    for each in records:
        assert commit(store, suite, each)
    return store


def _name(label: str) -> str:
    return label.split("(", maxsplit=1)[0]
