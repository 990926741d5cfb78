"""Networks whose activations cannot be rebuilt, and why."""

from torch import nn

from harness.bijections.base import Bijection
from harness.bijections.free_form import FreeForm
from harness.bijections.path import block_name, has_inverse, layers

RANDOM: tuple[type[nn.Module], ...] = (nn.modules.dropout._DropoutNd, nn.RReLU)
STATISTICS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
)


class CannotRebuildError(ValueError):
    """The activations of a network cannot be rebuilt from what comes after them."""


def check(flow: Bijection) -> None:
    """Refuse a network whose activations cannot be rebuilt.

    Raises:
        CannotRebuildError: A module draws random numbers or normalises by its batch, or a layer
            has no inverse, or one that is learned.
    """
    for name, module in flow.named_modules():
        kind = type(module).__name__
        if isinstance(module, RANDOM):
            why = f"its part {name!r}, {kind}, draws other numbers when it is run again"
        elif isinstance(module, STATISTICS):
            why = f"its part {name!r}, {kind}, mixes the samples of a batch or changes its buffers"
        elif isinstance(module, FreeForm):
            why = f"the inverse of its part {name!r}, {kind}, is learned, and only approximate"
        else:
            continue
        raise _refusal(why)
    for layer in layers(flow):
        if not has_inverse(layer.bijection):
            raise _refusal(
                f"its layer {layer.place}, {block_name(layer.bijection)}, has no inverse"
            )


def _refusal(why: str) -> CannotRebuildError:
    return CannotRebuildError(f"the network's activations cannot be rebuilt: {why}")
