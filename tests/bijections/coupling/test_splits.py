"""Splits: what goes where, and back."""

import pytest
import torch
from torch import Tensor

from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import convolutional_network, mlp
from harness.bijections.coupling.splits import Alternating, Checkerboard, Halves, Split
from harness.bijections.transformers.elementwise import Additive
from harness.seeding import generator
from tests.conformance import autograd_jacobians
from tests.networks import gaussian, perturb

CASES: dict[str, tuple[Split, tuple[int, ...]]] = {
    "halves": (Halves(2), (5,)),
    "halves of images": (Halves(1), (3, 2, 4)),
    "alternating, even": (Alternating(), (6,)),
    "alternating, odd": (Alternating(), (5,)),
    "alternating, of images": (Alternating(), (3, 2, 4)),
    "alternating, two": (Alternating(), (2,)),
    "checkerboard": (Checkerboard(), (3, 4, 6)),
    "checkerboard, one channel": (Checkerboard(), (1, 2, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_entry_is_in_one_part_and_comes_back(case: str) -> None:
    split, shape = CASES[case]
    x = torch.arange(2 * torch.Size(shape).numel(), dtype=torch.float64).reshape(2, *shape)
    first, second = split.apart(x)
    assert torch.equal(split.together(first, second), x)
    parts = torch.cat([first.flatten(1), second.flatten(1)], 1)
    assert torch.equal(parts.sort(1).values, x.flatten(1))
    assert split.channels(shape[0]) == (first.shape[1], second.shape[1])
    for part, is_second in ((first, False), (second, True)):
        shown = split.shown(part, second=is_second)
        assert shown.norm() == pytest.approx(float(part.norm()))  # an isometry


def test_alternating_takes_every_other() -> None:
    first, second = Alternating().apart(torch.arange(5).reshape(1, 5))
    assert first.tolist() == [[0, 2, 4]]
    assert second.tolist() == [[1, 3]]


def test_a_checkerboard_is_one() -> None:
    height, width = 4, 6
    even = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
    x = torch.where(even, 1.0, -1.0).reshape(1, 1, height, width)
    first, second = Checkerboard().apart(x)
    assert (first == 1).all()
    assert (second == -1).all()
    # Rows stay rows, and columns go from left to right.
    columns = torch.arange(width).expand(1, 1, height, width)
    first, _ = Checkerboard().apart(columns)
    assert first[0, 0].tolist() == [[0, 2, 4], [1, 3, 5], [0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("swap", [False, True])
def test_the_conditioner_sees_pixels_in_their_places_and_reads_at_the_others(swap: bool) -> None:
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return torch.arange(24.0).reshape(1, 1, 4, 6).expand_as(x)

    coupling = Coupling(Checkerboard(), Additive(), Spy(), swap=swap)
    x = gaussian(2, (1, 4, 6)).float()
    y, _ = coupling(x)
    kept = (torch.arange(4)[:, None] + torch.arange(6)) % 2 == int(swap)
    torch.testing.assert_close(seen[0], torch.where(kept, x, 0.0))
    shift = torch.where(kept, 0.0, torch.arange(24.0).reshape(4, 6))
    torch.testing.assert_close(y, x + shift)


def test_a_checkerboard_coupling_depends_on_neighbours_alone() -> None:
    conditioner = convolutional_network(1, 1, 4, generator(0, "c"))
    coupling = Coupling(Checkerboard(), Additive(), conditioner).double()
    perturb(coupling, 0, 0.5)
    jacobian = autograd_jacobians(coupling, gaussian(1, (1, 8, 8)))[0].reshape(8, 8, 8, 8)
    moved = jacobian[3, 4]  # of a changed pixel; two 3×3 convolutions reach two pixels
    assert moved[:1].abs().max() == moved[:, :2].abs().max() == moved[6:].abs().max() == 0
    assert moved[3, 3] != 0
    assert moved[1, 4] == 0  # a changed pixel
    assert moved[1, 3] != 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Halves(0), "at least 1, not 0"),
        (lambda: Halves(3).apart(torch.ones(2, 3)), "nothing to change in 3 channels"),
        (lambda: Alternating().apart(torch.ones(2, 1)), "at least 2, not 1"),
        (lambda: Checkerboard().apart(torch.ones(2, 4)), r"not \(2, 4\)"),
        (lambda: Checkerboard().apart(torch.ones(2, 4, 3, 4)), r"not \(2, 4, 3, 4\)"),
        (
            lambda: _conditional()(torch.ones(2, 4)),
            "'context' must be .*, and none was given",
        ),
        (lambda: _conditional()(torch.ones(2, 4), torch.ones(2, 1)), r"not of shape \(2, 1\)"),
    ],
)
def test_misuse_is_told_in_a_sentence(make: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()  # type: ignore[operator]


def _conditional() -> Coupling:
    return Coupling(2, Additive(), mlp(5, 2, 4, 1, generator(0, "c")), context=3)
