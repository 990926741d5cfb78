"""What else a person should know of a network, a clause each: beside whether it comes back."""

import math
from collections.abc import Callable, Iterator

from harness.diagnosis.findings import Findings
from harness.diagnosis.numbers import Numbers
from harness.diagnosis.state import State
from harness.gradients.functions import REFERENCE, WAYS
from harness.record import NumberStatus

NATS = 1e-3
"""A log-det's error in float64, in nats, from which it is wrong and not rounded."""

NATS_ROUNDED = 0.1
"""In float32, from which it is of no use."""

MASS = 0.05
"""How far from 1 the mass of a density may be, beside its own error."""

DEGREES = 1.0
"""From which angle on a gradient is not the gradient."""


def remarks(numbers: Numbers, here: State, found: Findings) -> Iterator[str]:
    """The clauses, none where nothing is to be said.

    Args:
        numbers: What was measured of the network.
        here: How far it leads back on its data in float32.
        found: All of it.
    """
    yield from filter(None, (one(numbers, here, found) for one in REMARKS))


def log_det_is_wrong(numbers: Numbers) -> bool:
    """Whether the log-det is not the Jacobian's, or the density it makes has not the mass 1."""
    return _gap(numbers) > NATS or _mass_is_wrong(numbers, "float64") is not None


def _gap(numbers: Numbers) -> float:
    """From the Jacobian's, in nats; NaN where of the determinant float64 knows rounding alone."""
    gap = numbers.get("log_det", "jacobian_gap_median", "test", "float64")
    return gap.value if gap is not None and gap.status is NumberStatus.FINITE else math.nan


def _unresolved(numbers: Numbers, here: State, found: Findings) -> str:
    share = numbers.value("bi_lipschitz", "unresolved_in_float32_fraction", "test", "float64")
    if not share > 0:
        return ""
    measured = numbers.get("bi_lipschitz", "condition_number_worst", "test", "float64")
    if measured is not None and measured.status is NumberStatus.FINITE:
        size = f"the condition number reaches {measured.value:.2g}"
    else:
        size = "nor does float64"
    return f"float32 does not resolve its least singular value on {_percent(share)} ({size})"


def _attacked(numbers: Numbers, here: State, found: Findings) -> str:
    """Of an adversary's, only what chance does not find, on data that come back."""
    if not here.fine:
        return ""
    best = ""
    most = 0.0
    for norm in ("linf", "l2"):
        adversary, chance = (
            numbers.value("attack", f"{norm}_{who}_failed_fraction", "test", "float32")
            for who in ("pgd", "random")
        )
        if adversary > max(most, chance):
            most = adversary
            best = (
                f"an adversary makes it fail on {_percent(adversary)} within a quarter of the "
                f"data's range, and chance on {_percent(chance) if chance else 'none'}"
            )
    return best


def _certified(numbers: Numbers, here: State, found: Findings) -> str:
    wrong = [
        "Lipschitz constant" if end == "forward" else "inverse Lipschitz constant"
        for end in ("forward", "inverse")
        for inputs in ("none", "data_box")
        if numbers.value("certificates", f"violated_{end}", inputs, "float64") > 0
    ]
    which = " and of its ".join(dict.fromkeys(wrong))
    return f"its own bound of its {which} does not hold" if wrong else ""


def _gradients(numbers: Numbers, here: State, found: Findings) -> str:
    """Of training by other ways than autograd, which trust the inverse."""
    for way in WAYS:
        if way == REFERENCE:
            continue

        def of(metric: str, way: str = way) -> float:
            return numbers.value("gradient_fidelity", f"{way}_{metric}", "test", "float32")

        name = way.replace("_", "-")
        lost, angle = of("batch_non_finite_fraction"), of("batch_angle_degrees_worst_finite")
        if lost > 0:
            return f"{name} gradients are not finite on {_percent(lost, 'batches')}"
        if angle > DEGREES:
            return f"{name} gradients are off by up to {angle:.2g}°"
    return ""


def _samples(numbers: Numbers, here: State, found: Findings) -> str:
    lost = numbers.value("sampling", "blown_up_fraction", "temperature_1", "float32")
    return f"{100 * lost:.0f} % of its samples blow up" if lost >= 0.01 else ""


def _log_det(numbers: Numbers, here: State, found: Findings) -> str:
    exact = _gap(numbers)
    rounded = numbers.value("log_det", "jacobian_gap_median", "test", "float32")
    lost = numbers.value("log_det", "jacobian_gap_non_finite_fraction", "test", "float64")
    mass = _mass_is_wrong(numbers, "float64")
    if not found.has_log_det:
        said = "its code gives no log-det"
    elif lost > 0:
        said = f"its log-det is not finite, or its Jacobian is not, on {_percent(lost)}"
    elif exact > NATS:
        said = f"its log-det is wrong by {exact:.2g} nats, in float64 too"
    elif mass is not None:
        said = f"its density has the mass {mass:.3g} and not 1, so that its log-det is wrong"
    elif rounded > NATS_ROUNDED and not math.isnan(exact):
        said = f"its log-det is off by {rounded:.2g} nats in float32"
    else:
        said = ""
    return said


def _mass_is_wrong(numbers: Numbers, precision: str) -> float | None:
    """The mass, where it is surely not 1: what lies outside of the box is missing, not wrong."""
    for inputs in ("wide_box", "samples"):
        measured = numbers.get("normalization", "integral", inputs, precision)
        if measured is None or measured.status is not NumberStatus.FINITE:
            continue
        error = numbers.value("normalization", "integral_error", inputs, precision)
        edge = numbers.value("normalization", "edge_mass", inputs, precision)
        allowed = MASS + 5 * error
        too_little = math.isnan(edge) or edge < 1e-3
        if measured.value > 1 + allowed or (measured.value < 1 - allowed and too_little):
            return measured.value
    return None


def _percent(share: float, what: str = "inputs") -> str:
    return f"{100 * share:.0f} % of {what}"


REMARKS: tuple[Callable[[Numbers, State, Findings], str], ...] = (
    _unresolved,
    _attacked,
    _gradients,
    _samples,
    _log_det,
    _certified,
)
