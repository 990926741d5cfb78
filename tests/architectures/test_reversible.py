"""Reversible networks: the equations of their papers, and what they refuse."""

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling import Coupling
from harness.conformance.candidate import perturb
from harness.conformance.registered import candidate
from harness.registry import Shape
from harness.seeding import generator
from tests.networks import gaussian


def _network(name: str, shape: Shape, **parameters: object) -> Chain:
    choice = registry.resolve("architecture", {"name": name, **parameters})
    flow = registry.build("architecture", choice, shape, generator(0, "reversible"))
    perturb(flow, 1)
    assert isinstance(flow, Chain)
    return flow.double()


def _functions(flow: Bijection) -> list[torch.nn.Module]:
    return [module.conditioner for module in flow.modules() if isinstance(module, Coupling)]


def test_revnet_is_that_of_the_paper() -> None:
    """Two levels of one block each, by their equations, with PyTorch's own squeeze."""
    flow, x = _network("revnet", (3, 8, 8), blocks=1, width=4), gaussian(2, (3, 8, 8))
    y, log_det = flow(x)
    f1, g1, f2, g2 = _functions(flow)
    for f, g in ((f1, g1), (f2, g2)):
        first, second = torch.nn.functional.pixel_unshuffle(x, 2).chunk(2, dim=1)
        first = first + f(second)
        second = second + g(first)
        x = torch.cat([first, second], dim=1)
    torch.testing.assert_close(y, x.flatten(1))
    assert not log_det.any()


@pytest.mark.parametrize(
    ("choice", "shape", "sentence"),
    [
        ({"name": "revnet"}, (5,), r"revnet needs images .* shape is \(5,\)"),
        (
            {"name": "revnet", "levels": 2},
            (1, 8, 6),
            r"2 levels, which \(1, 8, 6\) does not",
        ),
    ],
)
def test_what_cannot_be_is_refused(choice: object, shape: Shape, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        candidate(registry.resolve("architecture", choice), shape)
