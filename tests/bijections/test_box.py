"""Boxes, and the images of blocks that only rearrange or mix."""

import pytest
import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.linear.permutation import Permutation
from harness.bijections.shape.multiscale import MultiScale
from harness.bijections.shape.reshape import Flatten, Squeeze
from harness.seeding import generator
from tests.networks import gaussian, perturb

IMAGE, VECTOR = (2, 4, 4), (5,)


def cases() -> dict[str, tuple[Bijection, tuple[int, ...]]]:
    source = generator(0, "box")
    blocks: dict[str, tuple[Bijection, tuple[int, ...]]] = {
        "actnorm": (ActNorm(5), VECTOR),
        "actnorm of images": (ActNorm(2), IMAGE),
        "lu": (LULinear(5, source), VECTOR),
        "lu of images": (LULinear(2, source), IMAGE),
        "permutation": (Permutation.random(5, source), VECTOR),
        "squeeze": (Squeeze(), IMAGE),
        "flatten": (Flatten(IMAGE), IMAGE),
        "multi-scale": (
            MultiScale([Chain([Squeeze(), ActNorm(8)]), Squeeze()], [(8, 2, 2), (16, 1, 1)]),
            IMAGE,
        ),
        "chain": (Chain([Squeeze(), LULinear(8, source), Flatten((8, 2, 2))]), IMAGE),
    }
    for block, _ in blocks.values():
        perturb(block, 0, 0.3)
    return blocks


def corners(box: Box, count: int) -> Tensor:
    """Corners of the box, where a linear map reaches its extremes, and points within."""
    ends = torch.rand(count, *box.lower.shape, generator=generator(0, "corners")).double()
    ends[: count // 2].round_()
    return box.lower + ends * (box.upper - box.lower)


@pytest.mark.parametrize("case", cases())
def test_the_image_of_a_box_holds_the_images_of_its_points(case: str) -> None:
    block, shape = cases()[case]
    block.double()
    box = Box.of(gaussian(2, shape, seed=3))
    image = block.image(box)
    assert image is not None
    y = block(corners(box, 2000))[0].detach()
    room = 1e-12 * image.largest.max()
    assert (y >= image.lower - room).all()
    assert (y <= image.upper + room).all()
    if not isinstance(block, Chain):  # of a chain, boxes around boxes grow
        # A corner that is hit is hit exactly; of five sides, 2000 draws hit all 32 corners.
        exact = len(shape) == 1 or not isinstance(block, LULinear)
        assert exact <= bool(torch.allclose(y.amin(0), image.lower, atol=1e-9))
        assert exact <= bool(torch.allclose(y.amax(0), image.upper, atol=1e-9))


def test_an_unknown_image_ends_what_is_known_of_a_chain() -> None:
    class Unknown(ActNorm):
        def image(self, box: Box) -> None:  # type: ignore[override]
            return None

    box = Box.of(gaussian(3, VECTOR))
    assert Chain([ActNorm(5), Unknown(5), ActNorm(5)]).image(box) is None
    images = Box.of(gaussian(3, IMAGE))
    levels = [Chain([Unknown(2), Squeeze()]), Squeeze()]
    assert MultiScale(levels, [(8, 2, 2), (16, 1, 1)]).image(images) is None


def test_products_and_sums_of_boxes() -> None:
    a = Box(torch.tensor([-2.0, 1.0]), torch.tensor([3.0, 2.0]))
    b = Box(torch.tensor([-5.0, -1.0]), torch.tensor([1.0, 4.0]))
    assert [end.tolist() for end in a.times(b)] == [[-15, -2], [10, 8]]
    assert [end.tolist() for end in a.plus(b)] == [[-7, 0], [4, 6]]
    assert a.largest.tolist() == [3, 2]
    assert [end.tolist() for end in a.increasing(torch.exp)] == [
        pytest.approx(torch.exp(end).tolist()) for end in a
    ]
