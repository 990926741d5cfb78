"""The schema of what is stored: pinned, versioned, documented, and true to NaN and inf."""

import dataclasses
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness.record import Attempt, CellRecord, CurvePoint, LayerMeasurement, Measurement
from harness.results.ledger import read_record
from harness.results.schema import ATTEMPT, CELL, CURVE_POINT, LAYER, MEASUREMENT, VERSION
from harness.results.writer import commit, record_attempt
from tests.results.records import attempt, measurement, record, with_measurements

# A change here is a change of what is stored: raise VERSION with it.
PINNED = """
cell_id: string not null
status: string not null
specification: string not null
task: string not null
architecture: string not null
architecture_label: string not null
regularizer: string not null
regularizer_label: string not null
dataset: string not null
dataset_label: string not null
seed: int64 not null
steps: int64 not null
train_seconds: double not null
probe_seconds: double not null
finished_ms: int64 not null
provenance: string not null
measurements.probe: string not null
measurements.metric: string not null
measurements.inputs: string not null
measurements.precision: string not null
measurements.value: double not null
measurements.count: int64 not null
measurements.step: int64 not null
measurements.status: string not null
layers.probe: string not null
layers.metric: string not null
layers.inputs: string not null
layers.precision: string not null
layers.value: double not null
layers.count: int64 not null
layers.step: int64 not null
layers.status: string not null
layers.layer: int64 not null
layers.block: string not null
curve.step: int64 not null
curve.metric: string not null
curve.value: double not null
"""


def _lines(schema: pa.Schema) -> list[str]:
    lines = []
    for field in schema:
        if pa.types.is_list(field.type):
            assert not field.nullable
            assert not field.type.value_field.nullable
            lines += [_line(inner, f"{field.name}.") for inner in field.type.value_type]
        else:
            lines.append(_line(field, ""))
    return lines


def _line(field: pa.Field, prefix: str) -> str:
    return f"{prefix}{field.name}: {field.type}{'' if field.nullable else ' not null'}"


def test_version_two_is_pinned(tmp_path: Path) -> None:
    commit(tmp_path, "demo", record())
    (file,) = tmp_path.rglob("*.parquet")
    assert VERSION == 2
    assert pq.read_metadata(file).metadata[b"innbench.schema"] == b"2"
    assert _lines(pq.read_schema(file)) == PINNED.strip().split("\n")


def test_attempts_carry_the_version_and_their_schema(tmp_path: Path) -> None:
    record_attempt(tmp_path, "demo", attempt())
    (file,) = tmp_path.rglob("*.parquet")
    assert pq.read_metadata(file).metadata[b"innbench.schema"] == b"2"
    assert _lines(pq.read_schema(file)) == _lines(ATTEMPT)


def test_the_schema_is_the_record() -> None:
    for schema, kind in (
        (CELL, CellRecord),
        (ATTEMPT, Attempt),
        (MEASUREMENT, Measurement),
        (LAYER, LayerMeasurement),
        (CURVE_POINT, CurvePoint),
    ):
        assert [field.name for field in schema] == [f.name for f in dataclasses.fields(kind)]


def test_every_column_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    columns = {field.name for schema in (CELL, ATTEMPT) for field in schema}
    columns |= {field.name for struct in (MEASUREMENT, LAYER, CURVE_POINT) for field in struct}
    assert {name for name in columns if f"`{name}`" not in text} == set()
    assert f"version {VERSION}" in text


def test_nan_and_inf_come_back_as_they_went(tmp_path: Path) -> None:
    values = [1.0, 0.0, math.nan, math.inf, -math.inf, 5e-324]
    given = with_measurements(
        record(), *(measurement("p", f"m{i}", "test", v) for i, v in enumerate(values))
    )
    commit(tmp_path, "demo", given)
    back = read_record(tmp_path, "demo", given.cell_id)
    assert repr(back) == repr(given)  # repr, for NaN is not equal to itself
    (file,) = tmp_path.rglob("*.parquet")
    value = pq.read_table(file)["measurements"].chunk(0).flatten().field("value")
    assert value.null_count == 0
