"""Registered entries as candidates, on the smallest shape that each takes."""

import math
from collections.abc import Iterator
from functools import partial

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.conformance.candidate import Candidate
from harness.registry import Choice, Combination, Nested, Shape, UnresolvedError
from harness.registry.entry import Refusal

SMALLEST: tuple[Shape, ...] = ((2,), (3,), (4,), (1, 4, 4), (1, 8, 8), (3, 16, 16))
"""Shapes that are tried in turn."""
OF_PARTS: tuple[Shape, ...] = ((4,), *SMALLEST[3:])
"""Shapes for what is a part of networks: of two dimensions there is little to mix or to centre."""
PARTS = ("transformer", "scale_map", "mixing")
"""Axes of what architectures are made of."""
BACKWARDS = ("iaf",)
"""Hosts that come last: what is worst for a part is seldom among what its inverse is given."""


def candidate(choice: Choice, shape: Shape | None = None) -> Candidate:
    """An architecture with its parameters settled, on a shape or on the smallest it takes.

    Raises:
        ValueError: It does not take that shape, or none of those that are tried.
    """
    entry = registry.get("architecture", choice.name)
    refusals = []
    for one in (shape,) if shape else SMALLEST:
        refused = _refusal(choice, one)
        if refused is None:
            build = partial(_build, choice, one)
            label = registry.label("architecture", choice)
            return Candidate(label, one, build, entry.branches, entry.learns_inverse)
        refusals.append(refused)
    raise ValueError(refusals[0])


def within_an_architecture(axis: str, name: str, shape: Shape | None = None) -> Candidate:
    """A part of networks, in the architecture that takes it on the smallest shape.

    Args:
        axis: One of :data:`PARTS`.
        name: Of the entry.
        shape: Of an input; the smallest if left out.

    Raises:
        ValueError: No architecture takes it, or none on that shape.
    """
    found = [
        one
        for architecture in registry.names("architecture")
        for parameter, field in registry.get(
            "architecture", architecture
        ).parameters.model_fields.items()
        if any(isinstance(mark, Nested) and mark.axis == axis for mark in field.metadata)
        for one in _hosted({"name": architecture, parameter: name}, shape)
    ]
    if not found:
        where = "" if shape is None else f" on the shape {shape}"
        raise ValueError(f"no architecture takes the {axis.replace('_', ' ')} {name!r}{where}")
    return min(found, key=lambda one: (math.prod(one.shape), one.name.startswith(BACKWARDS)))


def _hosted(written: dict[str, str], shape: Shape | None) -> Iterator[Candidate]:
    for one in (shape,) if shape else OF_PARTS:
        try:
            yield candidate(registry.resolve("architecture", written), one)
        except (UnresolvedError, ValueError):
            continue
        return


def _build(choice: Choice, shape: Shape, generator: torch.Generator) -> Bijection:
    flow: Bijection = registry.build("architecture", choice, shape, generator)
    return flow


def combinations(choice: Choice, shape: Shape) -> Iterator[Combination]:
    """The architecture with each regularizer; task and dataset are none in particular."""
    task, dataset = registry.resolve("task", "density"), registry.resolve("dataset", "checkerboard")
    for name in registry.names("regularizer"):
        try:
            regularizer = registry.resolve("regularizer", name)
        except UnresolvedError:  # a plug-in that has no defaults
            continue
        yield Combination(task, choice, regularizer, dataset, shape)


def refusal(refuses: Refusal | None, choice: Choice, shape: Shape) -> str | None:
    """What an entry says of a shape, before anything is built; ``None`` if it takes it."""
    if refuses is None:
        return None
    said = [refuses(combination) for combination in combinations(choice, shape)]
    return None if None in said else said[0]  # one regularizer that it goes with is enough


def _refusal(choice: Choice, shape: Shape) -> str | None:
    """The same, or what it says by not being built."""
    said = refusal(registry.get("architecture", choice.name).refuses, choice, shape)
    if said is not None:
        return said
    try:
        _build(choice, shape, torch.Generator().manual_seed(0))
    except ValueError as error:
        return str(error)
    return None
