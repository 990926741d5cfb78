"""The Arrow schema of what is stored; docs/results.md says what each column means.

Numbers are ``float64`` and never null, so that NaN and ±inf stay what they are. The schema has a
version, which every file carries as ``innbench.schema`` in its metadata: a change of a name, a
type or a meaning raises it.
"""

from collections.abc import Sequence
from typing import cast

import pyarrow as pa

from harness.record import Attempt, CellRecord

VERSION = 2
VERSION_KEY = b"innbench.schema"


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_MEASURED = [
    _required("probe", pa.string()),
    _required("metric", pa.string()),
    _required("inputs", pa.string()),
    _required("precision", pa.string()),
    _required("value", pa.float64()),
    _required("count", pa.int64()),
    _required("step", pa.int64()),
    _required("status", pa.string()),
]
MEASUREMENT = pa.struct(_MEASURED)
LAYER = pa.struct([*_MEASURED, _required("layer", pa.int64()), _required("block", pa.string())])
CURVE_POINT = pa.struct(
    [
        _required("step", pa.int64()),
        _required("metric", pa.string()),
        _required("value", pa.float64()),
    ]
)
_METADATA = {VERSION_KEY: str(VERSION).encode()}
CELL = pa.schema(
    [
        _required("cell_id", pa.string()),
        _required("status", pa.string()),
        _required("specification", pa.string()),
        _required("task", pa.string()),
        _required("architecture", pa.string()),
        _required("architecture_label", pa.string()),
        _required("regularizer", pa.string()),
        _required("regularizer_label", pa.string()),
        _required("dataset", pa.string()),
        _required("dataset_label", pa.string()),
        _required("seed", pa.int64()),
        _required("steps", pa.int64()),
        _required("train_seconds", pa.float64()),
        _required("probe_seconds", pa.float64()),
        _required("finished_ms", pa.int64()),
        _required("provenance", pa.string()),
        _required("measurements", pa.list_(_required("element", MEASUREMENT))),
        _required("layers", pa.list_(_required("element", LAYER))),
        _required("curve", pa.list_(_required("element", CURVE_POINT))),
    ],
    metadata=_METADATA,
)
ATTEMPT = pa.schema(
    [
        _required("cell_id", pa.string()),
        _required("attempt", pa.int64()),
        _required("status", pa.string()),
        _required("message", pa.string()),
        _required("traceback", pa.string()),
        _required("host", pa.string()),
        _required("finished_ms", pa.int64()),
    ],
    metadata=_METADATA,
)
# Parquet's names of the columns in which few values stand many times.
REPEATING = (
    *(
        f"{column}.list.element.{name}"
        for column, struct in (("measurements", MEASUREMENT), ("layers", LAYER))
        for name in struct.names
        if name != "value"
    ),
    "curve.list.element.metric",
)


def cell_table(record: CellRecord) -> pa.Table:
    """One row of :data:`CELL`."""
    return _row(record, CELL)


def attempt_table(attempt: Attempt) -> pa.Table:
    """One row of :data:`ATTEMPT`."""
    return _row(attempt, ATTEMPT)


def _row(source: object, schema: pa.Schema) -> pa.Table:
    columns = [_column(getattr(source, field.name), field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(value: object, kind: pa.DataType) -> pa.Array:
    """An array of length one, built from declared types and never by inference."""
    if not pa.types.is_list(kind):
        return pa.array([_plain(value)], kind)
    points = cast(Sequence[object], value)
    struct = kind.value_type
    members = [
        pa.array([_plain(getattr(point, field.name)) for point in points], field.type)
        for field in struct
    ]
    elements = pa.StructArray.from_arrays(members, fields=list(struct))
    return pa.ListArray.from_arrays(pa.array([0, len(points)], pa.int32()), elements, type=kind)


def _plain(value: object) -> object:
    """Text that UTF-8 can hold: a traceback may quote bytes that were never text."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
