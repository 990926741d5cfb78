"""Which architecture has a bounded forward map, a bounded inverse, both, or only on a box."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from rich.table import Table as RichTable

from harness import registry
from harness.bijections.base import BiLipschitz
from harness.bijections.box import Box
from harness.conformance.candidate import perturb
from harness.conformance.registered import candidate
from harness.registry import Choice, Nested, Shape
from harness.results.render import drawing, jsonable

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
        architecture: Name, and the scale map if it takes one.
        shape: The smallest that it takes.
        everywhere: Global bounds.
        on_a_box: Bounds on the box.
    """

    architecture: str
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
    """Every architecture at its defaults, with each scale map where it takes one.

    Computed from ``bounds()`` and ``bounds(box)`` of a network whose weights are perturbed: at a
    zero start an affine coupling is a linear map, and bounded.
    """
    return [_extents(choice) for name in registry.names("architecture") for choice in _with(name)]


def _with(name: str) -> list[Choice]:
    fields = registry.get("architecture", name).parameters.model_fields
    for key, field in fields.items():
        if any(isinstance(mark, Nested) and mark.axis == "scale_map" for mark in field.metadata):
            scales = registry.names("scale_map")
            given = [{"name": name, key: scale} for scale in scales]
            return [registry.resolve("architecture", one) for one in given]
    return [registry.resolve("architecture", name)]


def _extents(choice: Choice) -> Extents:
    subject = candidate(choice)
    flow = subject.fresh()
    perturb(flow, 0, PERTURBATION)
    side = torch.full(subject.shape, RADIUS, dtype=torch.float64)
    return Extents(subject.name, subject.shape, flow.bounds(), flow.bounds(Box(-side, side)))


def as_text(rows: list[Extents]) -> str:
    """As a table."""
    table = RichTable(box=None, pad_edge=False)
    for column in ("architecture", "forward", "inverse"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(row.architecture, row.forward, row.inverse)
    return drawing(table)


def as_plain(rows: list[Extents]) -> list[dict[str, Any]]:
    """In terms of JSON, with the bounds themselves and the box they are of."""
    return [
        {
            "architecture": row.architecture,
            "shape": list(row.shape),
            "forward": row.forward,
            "inverse": row.inverse,
            "bounds": [jsonable(bound) for bound in row.everywhere],
            "bounds_on_box": [jsonable(bound) for bound in row.on_a_box],
            "box_radius": RADIUS,
        }
        for row in rows
    ]
