"""Registered architectures as candidates, on the smallest shape that each takes."""

from collections.abc import Iterator
from functools import partial

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.conformance.candidate import Candidate
from harness.registry import Choice, Combination, Shape, UnresolvedError

SMALLEST: tuple[Shape, ...] = ((2,), (3,), (4,), (1, 4, 4), (1, 8, 8), (3, 16, 16))
"""Shapes that are tried in turn."""


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
            return Candidate(label, one, build, entry.branches)
        refusals.append(refused)
    raise ValueError(refusals[0])


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


def _refusal(choice: Choice, shape: Shape) -> str | None:
    """What the entry says of the shape, before anything is built or by not being built."""
    refuses = registry.get("architecture", choice.name).refuses
    if refuses is not None:
        said = [refuses(combination) for combination in combinations(choice, shape)]
        if all(said):  # one regularizer that it goes with is enough
            return said[0]
    try:
        _build(choice, shape, torch.Generator().manual_seed(0))
    except ValueError as error:
        return str(error)
    return None
