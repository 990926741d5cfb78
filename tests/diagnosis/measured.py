"""Measurements made by hand, as the probes would make them."""

import math
from collections import Counter
from typing import Any

from harness.adapters.failures import Failure
from harness.diagnosis.findings import Findings
from harness.record import LayerMeasurement, Measurement

SETS = ("test", "uniform", "times_10")
BLOCKS = ("ActNorm", "Coupling: Affine, Sigmoid", "LULinear")


def reconstruction(
    inputs: str, median: float, worst: float, non_finite: float = 0.0, precision: str = "float32"
) -> list[Measurement]:
    values = {"l2_median": median, "l2_worst_finite": worst, "non_finite_fraction": non_finite}
    return [
        Measurement.of("reconstruction", metric, inputs, precision, value, 32, 0)
        for metric, value in values.items()
    ]


def one(
    probe: str, metric: str, value: float, inputs: str = "test", precision: str = "float32"
) -> Measurement:
    return Measurement.of(probe, metric, inputs, precision, value, 32, 0)


def layer(
    place: int, metric: str, value: float, inputs: str = "test", precision: str = "float64"
) -> LayerMeasurement:
    measured = Measurement.of("layer_profile", metric, inputs, precision, value, 32, 0)
    return LayerMeasurement.on(measured, place, BLOCKS[place])


def quiet_layers() -> list[LayerMeasurement]:
    """Layers in which nothing is wrong, of every set."""
    return [
        layer(place, metric, value, inputs, precision)
        for place in range(len(BLOCKS))
        for inputs in SETS
        for metric, value, precision in (
            ("forward_worst", 1.5, "float64"),
            ("inverse_worst", 2.0, "float64"),
            ("round_trip_l2_median", 1e-16, "float64"),
            ("round_trip_l2_median", 1e-7, "float32"),
            ("accumulated_non_finite_fraction", 0.0, "float32"),
            ("output_non_finite_fraction", 0.0, "float32"),
        )
    ]


def findings(
    *measurements: Measurement,
    layers: list[LayerMeasurement] | None = None,
    failures: dict[Failure, int] | None = None,
    **rest: Any,
) -> Findings:
    """Where nothing is said, every set comes back to rounding; later measurements win."""
    fine = [
        *(m for inputs in SETS for m in reconstruction(inputs, 1e-7, 1e-6)),
        *(m for inputs in SETS for m in reconstruction(inputs, 1e-16, 1e-15, precision="float64")),
        one("log_det", "jacobian_gap_median", 1e-13, precision="float64"),
        one("log_det", "jacobian_gap_median", 1e-6),
        one("sampling", "blown_up_fraction", 0.0, "temperature_1"),
    ]
    return Findings(
        measurements=(*fine, *measurements),
        layers=(*quiet_layers(), *(layers or [])),
        scale=1.0,
        dimension=2,
        sets=SETS,
        failures=Counter(failures or {}),
        **rest,
    )


NAN, INF = math.nan, math.inf
