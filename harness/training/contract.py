"""What training takes for granted of a network, looked at once before it."""

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.headed import outputs


@torch.no_grad()
def check_calls(flow: Bijection, x: Tensor) -> None:
    """Call the network twice, as it is trained.

    In a pack weights and buffers come from outside, and what a call leaves behind is lost; what a
    call draws by itself no seed decides.

    Args:
        flow: In training mode, initialised.
        x: A few inputs ``(B, *shape)``.

    Raises:
        ValueError: A call changed a buffer, or two calls on the same inputs differ; or there is
            nothing to train.
    """
    if not any(parameter.requires_grad for parameter in flow.parameters()):
        raise ValueError("the network has no parameters to train")
    before = {name: buffer.clone() for name, buffer in flow.named_buffers()}
    first, again = outputs(flow, x), outputs(flow, x)
    for name, buffer in flow.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise ValueError(
                f"a call of the network changed its buffer {name!r}; what is set from data is set "
                "in initialize, before training"
            )
    if any(not torch.allclose(a, b, equal_nan=True) for a, b in zip(first, again, strict=True)):
        raise ValueError(
            "two calls of the network on the same inputs differ, so that no seed decides its "
            "numbers; what is drawn is drawn from a generator, before the call"
        )
