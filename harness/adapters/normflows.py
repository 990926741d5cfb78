"""normflows: its flows map the latent to data, and are turned round here."""

from typing import Any

import normflows
from torch import Tensor

from harness.adapters.foreign import Foreign
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.registry import Shape


class Layer(Foreign):
    """A flow of normflows, run from data to the latent: its inverse is our forward."""

    held: Any

    def there(self, x: Tensor) -> Any:
        return self.held.inverse(x)

    def back(self, y: Tensor) -> Any:
        return self.held(y)


def adapted(given: Any) -> Bijection:
    """The layers of a model as a chain, the one next to the data first.

    Raises:
        TypeError: It needs a class or a context, keeps several latents, or has no inverse.
    """
    kind = type(given).__name__
    if isinstance(given, normflows.MultiscaleFlow):
        raise TypeError("normflows' MultiscaleFlow has several latents, one a scale")
    if isinstance(given, normflows.ClassCondFlow | normflows.ConditionalNormalizingFlow):
        raise TypeError(f"normflows' {kind} needs a class or a context beside its input")
    if isinstance(given, normflows.NormalizingFlow):
        return Chain([adapted(part) for part in reversed(given.flows)])
    if isinstance(given, normflows.flows.Composite):
        return Chain([adapted(part) for part in reversed(given._flows)])
    if not isinstance(given, normflows.flows.Flow):
        raise TypeError(f"normflows' {kind} is no flow")
    if type(given).inverse is normflows.flows.Flow.inverse:
        raise TypeError(f"normflows' {kind} has no inverse")
    layer = Layer(given, "normflows")
    scale = next((m.scale_map for m in given.modules() if getattr(m, "scale_map", None)), None)
    if scale is not None:
        layer.block_name = f"{layer.block_name}: {scale}"
    return layer


def input_shape(given: Any) -> Shape | None:
    """That of the model's base distribution."""
    base = getattr(given, "q0", None)
    shape = getattr(base, "shape", None)
    return None if shape is None else tuple(shape)
