"""Cells that cannot be trained without keeping activations."""

from harness.registry import get
from harness.suite.cell import Cell


def refusal(cell: Cell) -> str | None:
    """Why the cell's backpropagation cannot be what its training says, or ``None``."""
    how = cell.training.backpropagation
    if how == "autograd":
        return None
    architecture, regularizer = cell.architecture.name, cell.regularizer.name
    if get("architecture", architecture).learns_inverse:
        return (
            f"{how!r} rebuilds activations by the inverse, and that of the architecture "
            f"{architecture!r} is learned, and only approximate; use autograd with it"
        )
    if get("regularizer", regularizer).needs_graph:
        return (
            f"{how!r} keeps no graph, and the regularizer {regularizer!r} looks at activations "
            "within the network or differentiates twice; use autograd with it"
        )
    return None
