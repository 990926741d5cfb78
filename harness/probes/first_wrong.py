"""Which layer to blame for an inverse that is wrong."""

import torch
from torch import Tensor

from harness.probes.walk import Walk

NONE = -1
"""The place where no layer is wrong."""


def first_wrong(walk: Walk, threshold: float) -> Tensor:
    """The place of the first wrong layer of each input, ``(B,)``; -1 where none is.

    On the way back from the latent, the first layer k with ``‖b_k - a_k‖ > threshold · ‖a_k‖``, or
    whose error is not finite. Where already the forward pass overflows there is no way back to
    speak of, and it is the first layer on the way there whose output is not finite.

    Args:
        walk: ``(B, L)`` each.
        threshold: Relative.
    """
    wrong = ~(walk.accumulated <= threshold * walk.size)  # NaN is wrong
    lost = ~walk.finite
    last = wrong.shape[1] - 1 - wrong.flip(1).int().argmax(1)
    on_the_way_back = torch.where(wrong.any(1), last, NONE)
    return torch.where(lost.any(1), lost.int().argmax(1), on_the_way_back)


def most_often(places: Tensor) -> int:
    """The place that most inputs have, the greatest of several; -1 if no input has one.

    Args:
        places: ``(B,)``, -1 or from 0 on.
    """
    found = places[places >= 0]
    if not len(found):
        return NONE
    counts = torch.bincount(found)
    return int(len(counts) - 1 - counts.flip(0).argmax())
