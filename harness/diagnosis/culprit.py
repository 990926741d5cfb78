"""Which layer is to blame on a set of inputs, and for what."""

import math
from collections import Counter
from dataclasses import dataclass

from harness.adapters.failures import Failure
from harness.diagnosis.numbers import LayerNumbers
from harness.diagnosis.state import State

STRUCTURAL = 1e-3
"""Relative error of a layer's own round trip in float64 from which rounding is not the cause."""

STRETCHES = 10.0
"""From which factor on a layer's inverse is said to stretch errors."""

EXTREME = 1e-2
"""From which scale on (or its reciprocal) a scale is extreme."""


@dataclass(frozen=True)
class Culprit:
    """A layer and what is wrong with it.

    Attributes:
        layer: Its place, counted from 0 at the input.
        block: What it is.
        cause: ``structural``, ``forward_overflow``, ``overflow``, ``raised`` or ``stretches``.
        clause: What a reader is told of it.
        others: How many other layers have the same fault.
    """

    layer: int
    block: str
    cause: str
    clause: str
    others: int = 0


def culprit(
    layers: LayerNumbers, here: State, scale: float, failures: Counter[Failure]
) -> Culprit | None:
    """The layer to blame on a set, or ``None`` where nothing is known of layers.

    In this order: an inverse that is none also in float64; a forward pass that overflows; on the
    way back from the latent the first layer that is not finite; where inputs are lost though the
    profile saw none of them, the layer that raised; the layer whose inverse stretches the most.

    Args:
        layers: What the layer profile measured, of fewer inputs than the reconstruction.
        here: What was reconstructed of the set.
        scale: The data's ``‖x‖₂``.
        failures: What raised in the network's code.
    """
    raised = Counter({one: n for one, n in failures.items() if one.precision == "float32"})
    return (
        _structural(layers, here.inputs, scale)
        or _first_lost(layers, here.inputs, raised)
        or (_raising(raised) if here.non_finite > 0 else None)
        or _stretching(layers, here.inputs)
    )


def _structural(layers: LayerNumbers, inputs: str, scale: float) -> Culprit | None:
    def own(place: int, precision: str) -> float:
        return layers.value(place, "round_trip_l2_median", inputs, precision)

    wrong = [
        place
        for place in layers.places
        # Rounding that is amplified shrinks with the precision, and this does not.
        if own(place, "float64") > STRUCTURAL * scale
        and not own(place, "float64") < 0.1 * own(place, "float32")
    ]
    if not wrong:
        return None
    place = max(wrong, key=lambda one: own(one, "float64"))
    error = own(place, "float64")
    clause = f"whose own round trip misses by {error:.2g} in float64 too"
    return Culprit(place, layers.blocks[place], "structural", clause, len(wrong) - 1)


def _first_lost(layers: LayerNumbers, inputs: str, raised: Counter[Failure]) -> Culprit | None:
    for place in layers.places:
        lost = layers.value(place, "output_non_finite_fraction", inputs, "float32")
        if lost > 0:
            return _lost(layers, place, inputs, "forward", raised)
    for place in reversed(layers.places):
        lost = layers.value(place, "accumulated_non_finite_fraction", inputs, "float32")
        if lost > 0:
            return _lost(layers, place, inputs, "inverse", raised)
    return None


def _lost(
    layers: LayerNumbers, place: int, inputs: str, direction: str, raised: Counter[Failure]
) -> Culprit:
    here = Counter(
        {one: n for one, n in raised.items() if (one.direction, one.layer) == (direction, place)}
    )
    if here:
        return _of(here.most_common(1)[0][0])
    cause = "overflow" if direction == "inverse" else "forward_overflow"
    clause = scale_clause(layers, place, inputs)
    return Culprit(place, layers.blocks[place], cause, clause)


def _raising(raised: Counter[Failure]) -> Culprit | None:
    return _of(raised.most_common(1)[0][0]) if raised else None


def _of(failure: Failure) -> Culprit:
    clause = f"whose {failure.direction} raises {failure.said}"
    return Culprit(failure.layer, failure.block, "raised", clause)


def _stretching(layers: LayerNumbers, inputs: str) -> Culprit | None:
    place = layers.greatest("inverse_worst", inputs)
    if place is None:
        return None
    clause = scale_clause(layers, place, inputs)
    return Culprit(place, layers.blocks[place], "stretches", clause)


def scale_clause(layers: LayerNumbers, place: int, inputs: str) -> str:
    """What is extreme in a layer: its scales, or else by how much its inverse stretches."""
    least = layers.value(place, "scale_smallest", inputs)
    most = layers.value(place, "scale_largest", inputs)
    if least <= EXTREME:
        return f"whose scale reaches {least:.2g}"
    if most >= 1 / EXTREME:
        return f"whose scale reaches {most:.2g}"
    stretch = layers.value(place, "inverse_worst", inputs)
    if stretch >= STRETCHES:
        times = "without bound" if math.isinf(stretch) else f"up to {stretch:.2g} times"
        return f"whose inverse stretches errors {times}"
    return ""
