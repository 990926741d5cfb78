"""What one cell leaves behind: plain values, known to workers and to the store alike."""

import math
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """How a cell ended. A diverged cell is a result; the last four are failures of a run."""

    OK = "ok"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    ERROR = "error"


class NumberStatus(StrEnum):
    """What kind of number a value is, so that no average swallows a NaN."""

    FINITE = "finite"
    INF = "inf"
    NAN = "nan"
    NOT_CONVERGED = "not_converged"
    UNSUPPORTED = "unsupported"

    @classmethod
    def of(cls, value: float) -> "NumberStatus":
        """The status that a bare number shows."""
        if math.isnan(value):
            return cls.NAN
        return cls.INF if math.isinf(value) else cls.FINITE


@dataclass(frozen=True)
class Measurement:
    """One number.

    Attributes:
        probe: Which probe measured it, or ``task`` or ``training``.
        metric: Which of its numbers.
        inputs: On which inputs: ``test``, or the name of an off-distribution set, or ``none``.
        precision: In which the network ran: a key of :data:`harness.precisions.PRECISIONS`.
        value: The number; NaN and ±inf are numbers like others.
        count: How many inputs it summarises.
        step: After how many training steps.
        status: Kind of number; ``not_converged`` where a solver stopped early, ``unsupported``,
            with NaN for a value, where the network cannot run in that precision.
    """

    probe: str
    metric: str
    inputs: str
    precision: str
    value: float
    count: int
    step: int
    status: NumberStatus

    @classmethod
    def of(
        cls,
        probe: str,
        metric: str,
        inputs: str,
        precision: str,
        value: float,
        count: int,
        step: int,
    ) -> "Measurement":
        """A measurement whose status is the one that its value shows."""
        number = float(value)
        status = NumberStatus.of(number)
        return cls(probe, metric, inputs, precision, number, count, step, status)


@dataclass(frozen=True)
class LayerMeasurement(Measurement):
    """One number of one layer of a network.

    Attributes:
        layer: Its place on the way from the input to the latent, counted from 0.
        block: What it is, for a reader: ``ActNorm``, ``Coupling: Affine, Sigmoid``.
    """

    layer: int
    block: str

    @classmethod
    def on(cls, measurement: Measurement, layer: int, block: str) -> "LayerMeasurement":
        """A measurement, of that layer."""
        return cls(**vars(measurement), layer=layer, block=block)


@dataclass(frozen=True)
class CurvePoint:
    """One number of the training curve."""

    step: int
    metric: str
    value: float


@dataclass(frozen=True)
class CellRecord:
    """A finished cell: exactly what is committed to the store.

    Attributes:
        cell_id: The cell's content-addressed id.
        status: ``ok`` or ``diverged``: other endings are attempts, not results.
        specification: Canonical JSON of everything that decides its numbers.
        task: Name of the task, and likewise ``architecture``, ``regularizer``, ``dataset``.
        architecture_label: Name with the parameters that differ from their defaults; likewise
            ``regularizer_label`` and ``dataset_label``.
        seed: The cell's seed.
        steps: Training steps done.
        train_seconds: Wall time of training without that of probes on the way, in seconds; of a
            pack, this cell's share.
        probe_seconds: Wall time of the probes, after training and during it, in seconds: its share,
            where the cells of a pack were measured at once.
        finished_ms: When it ended, in milliseconds since 1970-01-01 UTC.
        provenance: JSON: versions, device, host, git commit, data hash.
        measurements: All measurements of the network as a whole.
        layers: All measurements of its layers.
        curve: The training curve.
    """

    cell_id: str
    status: Status
    specification: str
    task: str
    architecture: str
    architecture_label: str
    regularizer: str
    regularizer_label: str
    dataset: str
    dataset_label: str
    seed: int
    steps: int
    train_seconds: float
    probe_seconds: float
    finished_ms: int
    provenance: str
    measurements: tuple[Measurement, ...] = field(default=())
    layers: tuple[LayerMeasurement, ...] = field(default=())
    curve: tuple[CurvePoint, ...] = field(default=())


@dataclass(frozen=True)
class Attempt:
    """A run of a cell that left no result.

    Attributes:
        cell_id: Which cell.
        attempt: Which try, counted from 1.
        status: The class of failure.
        message: One sentence.
        traceback: The worker's traceback, or empty.
        host: Where it ran.
        finished_ms: When it ended, in milliseconds since 1970-01-01 UTC.
    """

    cell_id: str
    attempt: int
    status: Status
    message: str
    traceback: str
    host: str
    finished_ms: int
