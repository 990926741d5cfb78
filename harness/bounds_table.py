"""Which block and which architecture has a bounded forward map, a bounded inverse, or on a box."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from rich.table import Table as RichTable

from harness import registry
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.conformance.candidate import perturb
from harness.conformance.registered import candidate
from harness.paper_blocks import blocks
from harness.registry import Choice, Nested, Shape
from harness.results.render import drawing, jsonable

Kind = Literal["block", "architecture"]
Extent = Literal["finite", "on a box", "unknown"]
"""Where a bound is proven. No word says that there is none on a box either: a differentiable map
with an invertible Jacobian has bounds on every box, so what is not derived is unknown."""

PERTURBATION = 0.01
"""Standard deviation by which the weights are moved away from their zero start."""
RADIUS = 1e-3
"""Half the side of the box around 0. Small, for what is asked is whether a bound exists: in a deep
network boxes around boxes grow until even float64 ends."""


@dataclass(frozen=True)
class Extents:
    """One row of the table.

    Attributes:
        kind: What it is of.
        name: Of the block, or of the architecture with the scale map if it takes one.
        shape: Of an input; the smallest that an architecture takes.
        everywhere: Global bounds.
        on_a_box: Bounds on the box.
    """

    kind: Kind
    name: str
    shape: Shape
    everywhere: BiLipschitz
    on_a_box: BiLipschitz

    @property
    def forward(self) -> Extent:
        """Where ``Lip(F)`` has a bound."""
        return _extent(self.everywhere.forward, self.on_a_box.forward)

    @property
    def inverse(self) -> Extent:
        """Where ``Lip(F⁻¹)`` has one."""
        return _extent(self.everywhere.inverse, self.on_a_box.inverse)


def _extent(everywhere: float, on_a_box: float) -> Extent:
    if everywhere < math.inf:  # a NaN bounds nothing
        return "finite"
    return "on a box" if on_a_box < math.inf else "unknown"


def bounds_table() -> list[Extents]:
    """The blocks of the paper, then every architecture at its defaults.

    With each scale map where an architecture takes one. Computed from ``bounds()`` and
    ``bounds(box)`` of blocks and networks whose weights are perturbed: at a zero start an affine
    coupling is a linear map, and bounded.
    """
    found = [
        _extents("block", name, make(torch.Generator().manual_seed(0)).double(), shape)
        for name, (make, shape) in blocks().items()
    ]
    for name in registry.names("architecture"):
        for subject in map(candidate, _with(name)):
            found.append(_extents("architecture", subject.name, subject.fresh(), subject.shape))
    return found


def _with(name: str) -> list[Choice]:
    fields = registry.get("architecture", name).parameters.model_fields
    for key, field in fields.items():
        if any(isinstance(mark, Nested) and mark.axis == "scale_map" for mark in field.metadata):
            scales = registry.names("scale_map")
            given = [{"name": name, key: scale} for scale in scales]
            return [registry.resolve("architecture", one) for one in given]
    return [registry.resolve("architecture", name)]


def _extents(kind: Kind, name: str, flow: Bijection, shape: Shape) -> Extents:
    perturb(flow, 0, PERTURBATION)
    side = torch.full(shape, RADIUS, dtype=torch.float64)
    return Extents(kind, name, shape, flow.bounds(), flow.bounds(Box(-side, side)))


def as_text(rows: list[Extents]) -> str:
    """As two tables."""
    return "\n".join(
        _drawn(kind, [row for row in rows if row.kind == kind]) for kind in get_args(Kind)
    )


def _drawn(kind: str, rows: list[Extents]) -> str:
    table = RichTable(box=None, pad_edge=False)
    for column in (kind, "forward", "inverse"):
        table.add_column(column, no_wrap=True, min_width=34 if column == kind else None)
    for row in rows:
        table.add_row(row.name, row.forward, row.inverse)
    return drawing(table)


def as_plain(rows: list[Extents]) -> list[dict[str, Any]]:
    """In terms of JSON, with the bounds themselves and the box they are of."""
    return [
        {
            row.kind: row.name,
            "shape": list(row.shape),
            "forward": row.forward,
            "inverse": row.inverse,
            "bounds": [jsonable(bound) for bound in row.everywhere],
            "bounds_on_box": [jsonable(bound) for bound in row.on_a_box],
            "box_radius": RADIUS,
        }
        for row in rows
    ]
