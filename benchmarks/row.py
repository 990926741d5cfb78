"""One line of the benchmark's table."""

import statistics
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """A figure of several rounds against its target.

    Attributes:
        group: ``training``, ``backpropagation``, ``inverse``, ``spectra``, ``probes``,
            ``sweep`` or ``overhead``.
        subject: What of innbench is measured.
        contender: Against what.
        setting: Of both: width and batch, or how many cells.
        members: How many networks of the subject train at once; 1 where that means nothing.
        unit: ``×``: how many times as fast the subject is, how many times fewer evaluations it
            takes, or how many times as long as the probes; of ``backpropagation`` the subject
            says of what; ``ms``: how much longer it takes; ``s``: how long.
        values: The figure of each round.
        target: What the median should reach, or ``None`` where nothing was set.
        better: Which way is better.
        rate: The subject's throughput, the median of the rounds.
        contender_rate: Likewise.
        rate_unit: Of both.
        parameters: Of one network of the subject.
        contender_parameters: Likewise: where they differ, so do the flows.
    """

    group: Literal[
        "training", "backpropagation", "inverse", "spectra", "probes", "sweep", "overhead"
    ]
    subject: str
    contender: str
    setting: str
    members: int
    unit: Literal["×", "ms", "s"]
    values: tuple[float, ...]
    target: float | None
    better: Literal["higher", "lower"] = "higher"
    rate: float | None = None
    contender_rate: float | None = None
    rate_unit: str | None = None
    parameters: int | None = None
    contender_parameters: int | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; ``None`` without one."""
        if self.target is None:
            return None
        if self.better == "lower":
            return self.median <= self.target
        return self.median >= self.target
