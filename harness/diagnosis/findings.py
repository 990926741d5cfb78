"""What the probes found, as the verdict reads it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.adapters.failures import Failure
from harness.record import LayerMeasurement, Measurement


@dataclass(frozen=True)
class Findings:
    """What was measured.

    Attributes:
        measurements: Of the whole network.
        layers: Of its layers.
        scale: Median ``‖x‖₂`` of the inputs in distribution.
        dimension: Numbers in one input.
        sets: Names of the input sets, ``test`` first.
        raised: Probe → what it raised, in one sentence.
        failures: How many samples failed inside of the network's code, and how.
        has_log_det: Whether the code gives a log-det.
    """

    measurements: tuple[Measurement, ...]
    layers: tuple[LayerMeasurement, ...]
    scale: float
    dimension: int
    sets: tuple[str, ...]
    raised: Mapping[str, str] = field(default_factory=dict)
    failures: Counter[Failure] = field(default_factory=Counter)
    has_log_det: bool = True
