"""One line of the benchmark table."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """A figure against its target; ``ratio`` is the figure, whatever the name says it is of."""

    name: str
    ratio: float
    target: float
    better: Literal["higher", "lower"]

    def verdict(self) -> str:
        met = self.ratio <= self.target if self.better == "lower" else self.ratio >= self.target
        return "yes" if met else "NO"
