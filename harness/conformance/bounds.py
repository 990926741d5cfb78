"""Does a bound hold?"""

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.conformance.ascent import End, ascend, constants
from harness.conformance.candidate import aligned_layers
from harness.conformance.jacobians import jacobians
from harness.conformance.parts import OF_EACH, Part, parts
from harness.conformance.row import Row

SLACK = 1 + 1e-9
CLIMBERS = 3
WHAT = {"forward": "σ_max(J)", "inverse": "1/σ_min(J)"}


def global_bounds(
    flow: Bijection, inputs: Mapping[str, Tensor], *, climb: bool = True
) -> list[Row]:
    """``σ_max(J(x)) ≤ bounds().forward`` and ``1/σ_min(J(x)) ≤ bounds().inverse``.

    At all the inputs, and at points that gradient ascent reaches from the worst of them.

    Args:
        flow: In float64.
        inputs: By where they are from, each of shape ``(B, *shape)``.
        climb: Whether gradient ascent looks for worse ones.
    """
    claimed = flow.bounds()
    return [
        _held(flow, f"bound, {end}", end, getattr(claimed, end), inputs, climb=climb)
        for end in get_args(End)
    ]


def bounds_on_a_box(flow: Bijection, box: Box, *, climb: bool = True) -> list[Row]:
    """``bounds(box)`` at points of the box, as above, and ``image(box)`` holds what they go to.

    Args:
        flow: In float64.
        box: Of inputs.
        climb: Whether gradient ascent within the box looks for worse points.
    """
    claimed = flow.bounds(box)
    inputs = {"a point of the box": points_of(box, 4), "a corner of the box": corners_of(box, 8)}
    rows = [
        _held(flow, f"bound on a box, {end}", end, getattr(claimed, end), inputs, box, climb=climb)
        for end in get_args(End)
    ]
    return [*rows, _image(flow, box)]


def bounds_of_parts(flow: Bijection, x: Tensor) -> list[Row]:
    """The same of each part: the bounds of a long chain are too loose to show a false one.

    ``measured`` is the constant over its bound, of the part where that is largest.
    """
    return _of_each(parts(flow, x), climb=True)


def bounds_of_aligned_parts(flows: Iterable[Bijection], x: Tensor) -> list[Row]:
    """Likewise with weights by :func:`harness.conformance.candidate.align`.

    There one input is as good as another. A part that overflows, in float32 too, is left out: its
    weights are such as no training leads to, and rounding may have taken all of its values. It is
    held with the next weights that it stands, and the rows say how many parts stood none.

    Args:
        flows: The same network, each time with milder weights.
        x: Inputs, shape ``(B, *shape)``.
    """
    held: dict[int, Part] = {}
    layered: set[int] = set()
    for flow in flows:
        found = dict(enumerate(parts(flow, x)))
        layered = {number for number, part in found.items() if _has_layers(part)}
        held |= {n: one for n, one in found.items() if n not in held and _is_finite(one)}
        if held.keys() == found.keys():
            break
    lost = layered - held.keys()
    if not lost:
        return _of_each(held.values(), climb=False)
    told = f"{len(lost)} of {len(layered)} parts with layers left out, for they overflow"
    if lost == layered:  # what is left has no weights here: that its bounds hold says nothing
        return [Row(f"bounds{OF_EACH}", math.nan, 0.0, passed=False, detail=told)]
    rows = _of_each(held.values(), climb=False)
    return [replace(row, detail=f"{row.detail}; {told}") for row in rows]


def _has_layers(part: Part) -> bool:
    return any(True for _ in aligned_layers(part.bijection))


def _is_finite(part: Part) -> bool:
    """Where its bounds are held: values in float32, Jacobians at its inputs."""
    x = torch.cat([part.x, 10 * part.x])
    if not x.isfinite().all():
        return False
    box = Box.of(part.x)
    everywhere = torch.cat([x, points_of(box, 4), corners_of(box, 8)]).float()
    with torch.no_grad():
        single = copy.deepcopy(part.bijection).float()(everywhere)
    return all(bool(one.isfinite().all()) for one in (*single, jacobians(part.bijection, x)))


def _of_each(some: Iterable[Part], *, climb: bool) -> list[Row]:
    found: dict[str, list[Row]] = {}
    for part in some:
        inputs = {"an input": part.x[:4], "an input ten times as far": 10 * part.x[:4]}
        rows = global_bounds(part.bijection, inputs, climb=climb)
        rows += bounds_on_a_box(part.bijection, Box.of(part.x), climb=climb)
        for row in rows:
            found.setdefault(row.check, []).append(_as_share(row, part.name))
    return [max(rows, key=lambda row: (not row.passed, row.measured)) for rows in found.values()]


def _as_share(row: Row, name: str) -> Row:
    """A part's row, so that it can be compared with another's."""
    measured, allowed = row.measured, row.allowed
    if row.check.startswith("bound"):
        measured, allowed = (0.0 if allowed == math.inf else measured / allowed), 1.0
    check, detail = f"{row.check}{OF_EACH}", f"{row.detail}, in {name}"
    return replace(row, check=check, measured=measured, allowed=allowed, detail=detail)


def points_of(box: Box, count: int) -> Tensor:
    """Points drawn uniformly."""
    source = torch.Generator().manual_seed(0)
    unit = torch.rand(count, *box.lower.shape, generator=source, dtype=torch.float64)
    return box.lower + unit * (box.upper - box.lower)


def corners_of(box: Box, count: int) -> Tensor:
    """Corners drawn uniformly."""
    source = torch.Generator().manual_seed(1)
    ends = torch.rand(count, *box.lower.shape, generator=source, dtype=torch.float64) < 0.5
    return torch.where(ends, box.lower, box.upper)


def _image(flow: Bijection, box: Box) -> Row:
    image, check = flow.image(box), "image of a box"
    if image is None:
        return Row.at_most(check, 0, 0, "none is known, and none is claimed")
    points = torch.cat([points_of(box, 128), corners_of(box, 128)])
    with torch.no_grad():
        y, _ = flow(points)
    if image.lower.shape != y.shape[1:] or image.upper.shape != y.shape[1:]:
        detail = f"its shape is {tuple(image.lower.shape)}, and F(x) has {tuple(y.shape[1:])}"
        return Row(check, math.nan, 0.0, passed=False, detail=detail)
    outside = torch.maximum(image.lower - y, y - image.upper)
    # A box that is not finite claims nothing there; a value that is not finite lies nowhere.
    beyond = torch.where(image.largest.isfinite(), outside / (1 + image.largest), 0.0)
    out = float(beyond.nan_to_num(math.inf, neginf=-math.inf).max().clamp_min(0))
    return Row.at_most(check, out, 1e-9, f"F(x) leaves it by {out:.2g} of its size")


def _held(
    flow: Bijection,
    check: str,
    end: End,
    allowed: float,
    inputs: Mapping[str, Tensor],
    box: Box | None = None,
    *,
    climb: bool = True,
) -> Row:
    x = torch.cat(list(inputs.values()))
    names = [name for name, some in inputs.items() for _ in some]
    values = constants(jacobians(flow, x), end)
    if allowed == math.inf:
        finite = values[values.isfinite()]
        largest = float(finite.max()) if len(finite) else math.nan
        detail = f"none is claimed; {WHAT[end]} is up to {largest:.4g}"
        return Row(check, largest, math.inf, passed=True, detail=detail)
    lost = int(values.isnan().sum())
    if lost:
        detail = f"{lost} Jacobians are not finite, although {allowed:.6g} is claimed"
        return Row(check, math.inf, allowed, passed=False, detail=detail)
    worst = int(values.argmax())
    found, place = float(values[worst]), names[worst]
    start = x[values.topk(min(CLIMBERS, len(x))).indices]
    highest = ascend(flow, start, end, box) if climb else -math.inf
    if highest > found:
        found, place = highest, "a point found by gradient ascent"
    detail = f"{WHAT[end]} is {found:.6g} at {place}, and bounds() claims at most {allowed:.6g}"
    return Row(check, found, allowed, passed=found <= allowed * SLACK, detail=detail)
