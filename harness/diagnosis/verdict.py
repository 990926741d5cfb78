"""One sentence: is a network invertible, where does it break, why, and what is off its data."""

import math
from dataclasses import dataclass

from harness.diagnosis.blocks import CURES, LOCAL, RANGE, kind
from harness.diagnosis.culprit import STRUCTURAL, Culprit, culprit
from harness.diagnosis.findings import Findings
from harness.diagnosis.numbers import LayerNumbers, Numbers
from harness.diagnosis.remarks import log_det_is_wrong, remarks
from harness.diagnosis.state import DIGITS, LOST, State, digits_lost, state


@dataclass(frozen=True)
class Verdict:
    """What a person should know.

    Attributes:
        sentence: All of it.
        invertible: Whether in float32 every input in distribution comes back to four digits.
        culprits: The layers to blame, those on the data first.
        cures: What the paper and the field suggest, the most to the point first.
    """

    sentence: str
    invertible: bool
    culprits: tuple[Culprit, ...]
    cures: tuple[str, ...]


def verdict(found: Findings) -> Verdict:
    """Of what was measured; no number of it is computed here."""
    numbers, layers = Numbers(found.measurements), LayerNumbers(found.layers)
    here = state(numbers, "test", "float32", found.scale)
    others = [state(numbers, name, "float32", found.scale) for name in found.sets if name != "test"]
    off = max(others, key=lambda one: one.badness, default=None)

    blamed: list[Culprit] = []
    clauses = [_on_data(here, numbers, layers, found, blamed)]
    if off is not None and off.known:
        clauses.append(_off_data(off, here, layers, found, blamed))
    clauses += remarks(numbers, here, found)
    cures = _cures(here, off, blamed, numbers, found)
    return Verdict("; ".join(clauses) + ".", here.fine, tuple(blamed), cures)


def _on_data(
    here: State, numbers: Numbers, layers: LayerNumbers, found: Findings, blamed: list[Culprit]
) -> str:
    if not here.known:
        why = found.raised.get("reconstruction", "it was not measured")
        return f"whether it is invertible is not known: {why}"
    if here.fine:
        return f"in float32 it is invertible on its data (worst relative error {here.worst:.1g})"
    who = culprit(layers, here, found.scale, found.failures)
    place = ""
    if who is not None:
        blamed.append(who)
        place = f" at {_named(who, layers)}"
    exact = state(numbers, "test", "float64", found.scale)
    # Rounding that is amplified shrinks with the precision, and this does not.
    everywhere = exact.median > STRUCTURAL and exact.median > 0.1 * here.median
    if everywhere or (who is not None and who.cause == "structural"):
        amount = f"{100 * exact.median:.2g} % of an input's norm"
        return f"its inverse is not its inverse: in float64 too it misses by {amount}{place}"
    if here.non_finite > 0:
        return f"on its data {_lost(here, who)}{place}"
    if here.unsolved > 0:
        return f"on its data the inverse does not converge for {_percent(here.unsolved)}{place}"
    lost = digits_lost(here.worst)
    return f"on its data the inverse loses {lost} of float32's {DIGITS} digits{place}"


def _off_data(
    off: State, here: State, layers: LayerNumbers, found: Findings, blamed: list[Culprit]
) -> str:
    if here.known and not here.fine and off.badness <= here.badness:
        return "off-distribution it is no worse"
    if off.fine:
        return "off-distribution it stays invertible"
    who = culprit(layers, off, found.scale, found.failures)
    if off.non_finite == 0 and blamed and blamed[0].cause == "structural":
        return "off-distribution as well"
    place = ""
    known = [one.layer for one in blamed]
    if who is not None and (who.layer not in known or who.cause == "raised"):
        blamed.append(who)
        place = f" at {_named(who, layers)}"
    where = f"off-distribution ({off.inputs})"
    if off.non_finite > 0:
        return f"{where} {_lost(off, who)}{place}"
    lost = digits_lost(off.worst)
    return f"{where} it loses {lost} of {DIGITS} digits{place}"


def _lost(one: State, who: Culprit | None) -> str:
    amount = _percent(one.non_finite)
    if who is not None and who.cause == "raised":
        return f"it fails on {amount}"
    if who is not None and who.cause == "forward_overflow":
        return f"already the forward pass overflows on {amount}"
    return f"the inverse overflows on {amount}"


def _percent(fraction: float) -> str:
    return "less than 1 % of inputs" if fraction < LOST else f"{100 * fraction:.0f} % of inputs"


def _named(who: Culprit, layers: LayerNumbers) -> str:
    text = f"layer {who.layer} of {len(layers.places)}, {who.block}"
    if who.others:
        text += f" (as are {who.others} more)" if who.others > 1 else " (as is 1 more)"
    return f"{text}, {who.clause}" if who.clause else text


def _cures(
    here: State, off: State | None, blamed: list[Culprit], numbers: Numbers, found: Findings
) -> tuple[str, ...]:
    cures: list[str] = []
    for who in blamed:
        what = kind(who.block)
        if who.cause == "structural" and what not in ("orthogonal", "ode", "residual"):
            what = "unknown"
        cures.append(CURES[what])
    structural = any(who.cause == "structural" for who in blamed)
    if not here.fine and here.known and not structural:
        cures.append(LOCAL)
    if off is not None and off.known and not off.fine and not structural:
        cures.append(RANGE)
    if found.has_log_det and log_det_is_wrong(numbers):
        cures.append("no likelihood of it means anything before its log-det is right")
    if math.isnan(here.worst) and not here.known:
        cures.append("mend what raised first")
    return tuple(dict.fromkeys(cures))
