"""Reversible networks: the equations of their papers, and what they refuse."""

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.conformance.candidate import perturb
from harness.conformance.registered import candidate
from harness.registry import Shape
from harness.seeding import generator
from tests.networks import gaussian

TRANSFORMER = "reversible_transformer"


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


def test_reversible_transformer_is_that_of_the_paper() -> None:
    """Two blocks by their equations, tokens cut out by PyTorch's own unfold."""
    shape = (3, 4, 6)
    flow, x = _network("reversible_transformer", shape, blocks=2, width=4), gaussian(2, shape)
    y, log_det = flow(x)
    first, second = torch.nn.functional.unfold(x, 2, stride=2).chunk(2, dim=1)
    attention1, mlp1, attention2, mlp2 = _functions(flow)
    for attention, mlp in ((attention1, mlp1), (attention2, mlp2)):
        first = first + attention(second)
        second = second + mlp(first)
    torch.testing.assert_close(y, torch.cat([first, second], dim=1).flatten(1))
    assert not log_det.any()


def _drift(blocks: int, dtype: torch.dtype) -> float:
    """The median error of a reconstruction."""
    flow, x = _network("reversible_transformer", (1, 8, 8), blocks=blocks), gaussian(16, (1, 8, 8))
    flow, x = flow.to(dtype), x.to(dtype)
    with torch.no_grad():
        back, _ = flow.inverse(flow(x)[0])
    return float((back - x).double().flatten(1).norm(dim=1).median())


def test_the_drift_of_a_reversible_transformer_grows_with_depth_and_with_rounding() -> None:
    shallow, deep = (_drift(blocks, torch.bfloat16) for blocks in (2, 16))
    assert 4e-3 < shallow < deep / 2
    rounding = torch.finfo(torch.float32).eps / torch.finfo(torch.bfloat16).eps
    assert 0.1 < _drift(16, torch.float32) / (deep * rounding) < 10


@pytest.mark.parametrize(
    ("choice", "shape", "sentence"),
    [
        ({"name": "revnet"}, (5,), r"revnet needs images .* shape is \(5,\)"),
        ({"name": "revnet", "levels": 2}, (1, 8, 6), r"2 levels, which \(1, 8, 6\) does not"),
        ({"name": TRANSFORMER}, (5,), r"needs images .* shape is \(5,\)"),
        ({"name": TRANSFORMER, "width": 9}, (1, 4, 4), "width 9 must be a multiple of its heads 2"),
        ({"name": TRANSFORMER, "patch": 4}, (1, 4, 4), "two or more patches of 4×4"),
        ({"name": TRANSFORMER, "patch": 3}, (1, 4, 4), "two or more patches of 3×3"),
        ({"name": TRANSFORMER, "patch": 1}, (1, 4, 4), "splits the 1 feature of a patch"),
    ],
)
def test_what_cannot_be_is_refused(choice: object, shape: Shape, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        candidate(registry.resolve("architecture", choice), shape)
