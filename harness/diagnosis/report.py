"""A diagnosis as a person or a program reads it."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table as RichTable

from harness.diagnosis.data import joined
from harness.diagnosis.findings import Findings
from harness.diagnosis.numbers import LayerNumbers, Numbers
from harness.diagnosis.verdict import Verdict
from harness.precisions import PRECISIONS
from harness.record import Measurement, NumberStatus
from harness.results.render import drawing, jsonable, longest_line, printable


@dataclass(frozen=True)
class Diagnosis:
    """Everything that is told.

    Attributes:
        name: What was diagnosed.
        shape: Of one input.
        data: What the inputs in distribution are.
        device: Where it ran.
        verdict: What a person should know.
        found: What it rests on.
    """

    name: str
    shape: tuple[int, ...]
    data: str
    device: str
    verdict: Verdict
    found: Findings


def as_text(one: Diagnosis) -> str:
    """The verdict, what helps, the tables, and what could not be measured."""
    shape = "×".join(map(str, one.shape))
    head = f"{one.name} on the shape {shape}, {one.data}, on {one.device}\n"
    sentence = one.verdict.sentence
    parts = [head, f"{sentence[0].upper()}{sentence[1:]}\n"]
    if one.verdict.cures:
        parts.append("".join(f"  - {cure}\n" for cure in one.verdict.cures))
    parts.append(drawing(_sets(one.found)))
    if one.found.layers:
        parts.append(drawing(_layers(one.found)))
    if notes := list(_notes(one.found)):
        parts.append("".join(f"{note}\n" for note in notes))
    return "\n".join(parts)


def as_plain(one: Diagnosis) -> dict[str, Any]:
    """In terms of JSON; NaN and ±inf are text."""
    return {
        "name": one.name,
        "shape": list(one.shape),
        "data": one.data,
        "device": one.device,
        "verdict": one.verdict.sentence,
        "invertible": one.verdict.invertible,
        "culprits": [asdict(who) for who in one.verdict.culprits],
        "cures": list(one.verdict.cures),
        "failures": [
            {**failure._asdict(), "samples": count} for failure, count in one.found.failures.items()
        ],
        "raised": dict(one.found.raised),
        "measurements": [_plain(m) for m in one.found.measurements],
        "layers": [_plain(m) for m in one.found.layers],
    }


def _plain(measurement: Measurement) -> dict[str, Any]:
    return {key: jsonable(value) for key, value in vars(measurement).items()}


def _sets(found: Findings) -> RichTable:
    """Of each set in each precision: reconstruction, and in float64 both Lipschitz constants."""
    numbers, rows = Numbers(found.measurements), []
    for name in found.sets:
        for precision in PRECISIONS:
            if numbers.get("reconstruction", "l2_median", name, precision) is None:
                continue
            errors = [
                _marked(numbers.get("reconstruction", metric, name, precision))
                for metric in ("l2_median", "l2_worst_finite", "non_finite_fraction")
            ]
            constants = [
                _marked(numbers.get("bi_lipschitz", metric, name, precision))
                for metric in ("forward_worst", "inverse_worst")
            ]
            rows.append([name, precision, *errors, *constants])
    columns = "inputs", "precision", "‖x̂-x‖ median", "worst finite", "not finite"
    return _table([*columns, "σ_max", "1/σ_min"], rows, texts=2)


def _layers(found: Findings) -> RichTable:
    """Of each layer on the inputs in distribution."""
    layers, rows = LayerNumbers(found.layers), []
    for place in layers.places:
        values = [
            layers.value(place, metric, "test", precision)
            for metric, precision in (
                ("forward_worst", "float64"),
                ("inverse_worst", "float64"),
                ("scale_smallest", "float64"),
                ("scale_largest", "float64"),
                ("round_trip_l2_worst_finite", "float64"),
                ("round_trip_l2_worst_finite", "float32"),
                ("accumulated_l2_worst_finite", "float32"),
                ("accumulated_non_finite_fraction", "float32"),
            )
        ]
        rows.append([str(place), layers.blocks[place], *map(_shown, values)])
    columns = ["layer", "block", "σ_max", "1/σ_min", "least scale", "greatest"]
    errors = ["own error f64", "own error f32", "accumulated f32", "not finite"]
    return _table([*columns, *errors], rows, texts=2)


def _table(columns: list[str], rows: list[list[str]], texts: int) -> RichTable:
    table = RichTable(box=None, pad_edge=False)
    for place, name in enumerate(columns):
        cells = [printable(row[place]) for row in rows]
        width = max(longest_line(cells), longest_line([name]))
        justify: Any = "left" if place < texts else "right"
        table.add_column(name, no_wrap=True, min_width=width, justify=justify)
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def _marked(measured: Measurement | None) -> str:
    """With a question mark where an iteration or float64 does not know it."""
    if measured is None:
        return ""
    doubtful = measured.status is NumberStatus.NOT_CONVERGED
    return _shown(measured.value) + ("?" if doubtful else "")


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _notes(found: Findings) -> list[str]:
    """What raised, what the network's code refused, and in which precisions it cannot run."""
    notes = [f"the probe {name} failed: {said}" for name, said in found.raised.items()]
    if any(one.status is NumberStatus.NOT_CONVERGED for one in found.measurements):
        notes.append("?: not known to its tolerance; float64 or an iteration does not resolve it")
    notes += _failures(found)
    for precision in Numbers(found.measurements).unsupported():
        notes.append(f"some of it cannot be run in {precision} here")
    if not found.has_log_det:
        notes.append("no log-det, so that nothing is said of likelihoods")
    return notes


def _failures(found: Findings) -> list[str]:
    """Alike ones in all layers in one line; those of float64 and float32 first."""
    alike: dict[tuple[int, str, str, str], dict[int, int]] = {}
    order = list(PRECISIONS)
    for one, count in sorted(found.failures.items(), key=lambda item: item[0].layer):
        rank = next((i for i, name in enumerate(order) if name == one.precision), len(order))
        layers = alike.setdefault((rank, one.precision, one.direction, one.said), {})
        layers[one.layer] = layers.get(one.layer, 0) + count
    lines = []
    for (_, precision, direction, said), layers in sorted(alike.items()):
        where = (
            f"layer {joined(map(str, layers))}"
            if len(layers) == 1
            else (f"layers {joined(map(str, layers))}")
        )
        many = sum(layers.values())
        how = f"{many} times, which counts as not finite" if many > 1 else "once"
        lines.append(f"in {precision} the {direction} of {where} raised {said} ({how})")
    return lines
