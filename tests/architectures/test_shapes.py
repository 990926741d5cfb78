"""Impossible shapes: an architecture takes a shape, or says in one sentence that it does not."""

from contextlib import suppress
from typing import Any

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.conformance.registered import refusal
from harness.registry import Shape
from harness.seeding import generator

SHAPES: tuple[Shape, ...] = (
    (1,),
    (2,),
    (3,),
    (1, 1, 1),
    (1, 2, 2),
    (1, 7, 7),
    (3, 8, 8),
    (1, 4, 6),
    (2, 6, 4),
    (4, 4),
)
# What may make a shape impossible, small enough to be built.
GIVEN: dict[str, list[dict[str, Any]]] = {
    "glow": [
        {},
        {"levels": 1},
        {"split": "checkerboard"},
        {"levels": 1, "split": "checkerboard"},
        {"levels": 1, "transformer": "volume_preserving", "mixing": "reverse"},
    ],
    "tarflow": [{}, {"patch": 1}, {"patch": 3}, {"width": 9, "heads": 2}],
    "residual_image": [{}, {"levels": 1}, {"levels": 3}],
    "affine": [{}, {"volume_preserving": True}, {"split": "alternating"}],
    "maf": [{}, {"transformer": "volume_preserving"}],
    "iaf": [{}, {"transformer": "volume_preserving"}],
    "i_densenet": [{}, {"growth": 3}],
}
CASES = [
    {"name": name, **given}
    for name in registry.names("architecture")
    for given in GIVEN.get(name, [{}])
]


@pytest.mark.parametrize("given", CASES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_is_taken_or_refused_in_one_sentence(given: dict[str, Any], shape: Shape) -> None:
    choice = registry.resolve("architecture", given)
    source = generator(0, "shapes")
    said = refusal(registry.get("architecture", choice.name).refuses, choice, shape)
    if said is None:
        flow: Bijection = registry.build("architecture", choice, shape, source)
        y, log_det = flow(torch.randn(2, *shape, generator=source))
        assert y.shape == (2, torch.Size(shape).numel())
        assert log_det.shape == (2,)
    else:
        assert given["name"] in said
        assert "\n" not in said
        assert ". " not in said
        with suppress(ValueError):  # of whoever builds it without asking; and nothing else
            registry.build("architecture", choice, shape, source)
