"""How far an inverse leads back on one set of inputs."""

import math
from dataclasses import dataclass

from harness.diagnosis.numbers import Numbers

DIGITS = 7
"""Decimal digits of float32."""

FINE = 1e-4
"""Relative error up to which an inverse is one."""

LOST = 0.005
"""A fraction of inputs that does not come back; below, a single one of them."""


@dataclass(frozen=True)
class State:
    """Reconstruction on one set in one precision, relative to the data's ``‖x‖₂``.

    Attributes:
        inputs: The set.
        median: Relative error in the median, of finite ones.
        worst: The worst finite one.
        non_finite: The fraction that is not finite.
        unsolved: The fraction for which an iterative inverse did not converge.
    """

    inputs: str
    median: float
    worst: float
    non_finite: float
    unsolved: float

    @property
    def known(self) -> bool:
        """Whether it was measured."""
        return not math.isnan(self.non_finite)

    @property
    def fine(self) -> bool:
        """Whether every input comes back."""
        return self.known and self.non_finite == 0 and self.worst <= FINE

    @property
    def badness(self) -> tuple[float, float]:
        """For the worst of several sets."""
        worst = math.inf if math.isnan(self.worst) else self.worst
        return (self.non_finite, worst) if self.known else (-1.0, 0.0)


def state(numbers: Numbers, inputs: str, precision: str, scale: float) -> State:
    """What the reconstruction probe says of a set.

    Args:
        numbers: All measurements.
        inputs: Name of the set.
        precision: In which the network ran.
        scale: The data's ``‖x‖₂``; 0 makes errors absolute.
    """

    def of(metric: str) -> float:
        return numbers.value("reconstruction", metric, inputs, precision)

    size = scale or 1.0
    unsolved = of("not_converged_fraction")
    return State(
        inputs,
        of("l2_median") / size,
        of("l2_worst_finite") / size,
        of("non_finite_fraction"),
        0.0 if math.isnan(unsolved) else unsolved,
    )


def digits_lost(relative: float) -> int:
    """How many of float32's decimal digits an error takes, at most all of them."""
    if math.isnan(relative) or relative >= 1:
        return DIGITS
    if relative <= 0:
        return 0
    return max(0, min(DIGITS, round(DIGITS + math.log10(relative))))
