"""What stands between the blocks of an architecture."""

import itertools
from typing import Any

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.registry import Shape
from harness.seeding import generator
from tests.conformance import autograd_jacobians
from tests.networks import fits, gaussian, perturb


def built(given: dict[str, Any], shape: Shape) -> Bijection:
    choice = registry.resolve("architecture", given)
    flow: Bijection = registry.build("architecture", choice, shape, generator(0, "mixing"))
    perturb(flow, 0)
    return flow.double()


GLOW = {"name": "glow", "levels": 1, "steps": 2, "transformer": "additive"}
TURNS: list[tuple[dict[str, Any], Shape]] = [
    *(
        ({"name": "additive", "couplings": 2, "split": split, "actnorm": False}, (dimension,))
        for split, dimension in itertools.product(("halves", "alternating"), (2, 3, 4, 5))
    ),
    *((GLOW | {"split": split}, (1, 4, 4)) for split in ("channels", "checkerboard")),
]  # fmt: skip


@pytest.mark.parametrize("mixing", ["none", "reverse"])
@pytest.mark.parametrize(("given", "shape"), TURNS, ids=str)
def test_two_couplings_change_every_element(
    mixing: str, given: dict[str, Any], shape: Shape
) -> None:
    """A reversal and taking turns must not undo each other: then half is never changed."""
    flow = built({**given, "mixing": mixing, "width": 8}, shape)
    jacobian = autograd_jacobians(flow, gaussian(1, shape))[0]
    assert ((jacobian != 0).sum(1) > 1).all()


@pytest.mark.parametrize("mixing", registry.names("mixing"))
@pytest.mark.parametrize("name", ["additive", "maf"])
def test_a_mixing_is_before_each_block(name: str, mixing: str) -> None:
    number = {"additive": "couplings", "maf": "blocks"}[name]
    given = {"name": name, number: 2, "actnorm": False, "mixing": mixing, "width": 4}
    flow = built(given | ({"order": "random"} if name == "maf" else {}), (4,))
    alone = registry.build("mixing", registry.resolve("mixing", mixing), 4, torch.Generator())
    expected = 0 if mixing == "none" else 2
    kinds = [type(part) for part in flow.parts]  # type: ignore[union-attr]
    assert kinds.count(type(alone)) == expected
    assert len(kinds) == 3 + expected


@pytest.mark.parametrize("name", ["glow", "maf", "iaf", "neural_spline_flow"])
def test_splines_that_do_not_fit_are_refused(name: str) -> None:
    shape = (1, 4, 4) if name == "glow" else (3,)
    for bins, taken in ((20, True), (200, False)):
        spline = {"name": "rational_quadratic_spline", "bins": bins, "minimum_width": 0.01}
        given = spline | {"name": name} if name == "neural_spline_flow" else {"transformer": spline}
        assert fits(registry.resolve("architecture", {"name": name, **given}), shape) == taken


def test_orders_that_undo_each_other_are_refused() -> None:
    for name, order, mixing in itertools.product(
        ("maf", "iaf"), ("reverse", "random"), ("none", "reverse", "lu")
    ):
        given = {"name": name, "order": order, "mixing": mixing}
        undone = order == mixing == "reverse"
        assert fits(registry.resolve("architecture", given), (3,)) != undone
