"""Measurements looked up by what they are of."""

import math
from collections.abc import Iterable

from harness.record import LayerMeasurement, Measurement, NumberStatus

Key = tuple[str, str, str, str]


class Numbers:
    """The measurements of a network; NaN for what was not measured.

    Args:
        measurements: Of the network as a whole.
    """

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._found = {
            (one.probe, one.metric, one.inputs, one.precision): one for one in measurements
        }

    def get(self, probe: str, metric: str, inputs: str, precision: str) -> Measurement | None:
        """The measurement, if there is one."""
        return self._found.get((probe, metric, inputs, precision))

    def value(self, probe: str, metric: str, inputs: str, precision: str) -> float:
        """Its value, or NaN."""
        found = self.get(probe, metric, inputs, precision)
        return math.nan if found is None else found.value

    def has(self, probe: str) -> bool:
        """Whether anything of that probe was measured."""
        return any(key[0] == probe for key in self._found)

    def unsupported(self) -> list[str]:
        """The precisions that the network cannot run in."""
        return sorted(
            {
                one.precision
                for one in self._found.values()
                if one.status is NumberStatus.UNSUPPORTED
            }
        )


class LayerNumbers:
    """The measurements of a network's layers.

    Args:
        layers: Of all layers.
    """

    def __init__(self, layers: Iterable[LayerMeasurement]) -> None:
        self._found: dict[tuple[int, str, str, str], float] = {}
        self.blocks: dict[int, str] = {}
        for one in layers:
            self._found[one.layer, one.metric, one.inputs, one.precision] = one.value
            self.blocks[one.layer] = one.block

    @property
    def places(self) -> list[int]:
        """The layers, from the input to the latent."""
        return sorted(self.blocks)

    def value(self, layer: int, metric: str, inputs: str, precision: str = "float64") -> float:
        """Of one layer, or NaN."""
        return self._found.get((layer, metric, inputs, precision), math.nan)

    def greatest(self, metric: str, inputs: str, precision: str = "float64") -> int | None:
        """The layer where it is greatest; ``None`` where it is nowhere known."""
        known = {
            place: value
            for place in self.places
            if not math.isnan(value := self.value(place, metric, inputs, precision))
        }
        return max(known, key=known.__getitem__) if known else None
