"""nflows: transforms from data to the latent, each with a log-det."""

from typing import Any

from nflows.flows.base import Flow
from nflows.transforms.base import CompositeTransform, InverseNotAvailable, Transform
from torch import Tensor

from harness.adapters.foreign import Foreign
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.registry import Shape


class Layer(Foreign):
    """One transform, without a context."""

    held: Any

    def there(self, x: Tensor) -> Any:
        return self.held(x)

    def back(self, y: Tensor) -> Any:
        try:
            return self.held.inverse(y)
        except InverseNotAvailable:
            raise NotImplementedError(
                f"nflows' {type(self.held).__name__} has no inverse"
            ) from None


def adapted(given: Any) -> Bijection:
    """The transforms of a flow or a composite as a chain; its distribution is left out.

    Raises:
        TypeError: It is no transform, or has no inverse.
    """
    if isinstance(given, Flow):
        return adapted(given._transform)
    if isinstance(given, CompositeTransform):
        return Chain([adapted(part) for part in given._transforms])
    kind = type(given).__name__
    if not isinstance(given, Transform):
        raise TypeError(f"nflows' {kind} is no transform")
    if type(given).inverse is Transform.inverse:
        raise TypeError(f"nflows' {kind} has no inverse")
    return Layer(given, "nflows")


def input_shape(given: Any) -> Shape | None:
    """That of the flow's distribution."""
    shape = getattr(getattr(given, "_distribution", None), "_shape", None)
    return None if shape is None else tuple(shape)
