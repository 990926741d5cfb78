"""zuko: lazy transforms, which build a transform of ``torch.distributions`` from a context."""

from typing import Any

import zuko

from harness.adapters import distributions
from harness.adapters.distributions import Transformation
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.registry import Shape


class Lazy(Transformation):
    """A lazy transform without a context; zuko's flows map data to the latent, as ours do."""

    def transform(self) -> Any:
        return self.held(None)


def adapted(given: Any) -> Bijection:
    """A flow's or a composite's layers as a chain; its base distribution is left out.

    Raises:
        TypeError: It needs a context, or is no transform.
    """
    if isinstance(given, zuko.lazy.Flow):
        return adapted(given.transform)
    if isinstance(given, zuko.lazy.LazyComposedTransform):
        return Chain([adapted(part) for part in given.transforms])
    if isinstance(given, zuko.lazy.LazyTransform):
        try:
            transform = given(None)
        except Exception as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            message = f"zuko's {type(given).__name__} cannot be built without a context ({said})"
            raise TypeError(message) from None
        lazy = Lazy(given, "zuko")
        if type(given).__name__ == "UnconditionalTransform":  # says nothing of what it is
            lazy.block_name = f"zuko {type(transform).__name__}"
        elif univariate := getattr(given, "univariate", None):
            name = getattr(getattr(univariate, "func", univariate), "__name__", "")
            lazy.block_name = f"{lazy.block_name}: {name}"
        return lazy
    if hasattr(given, "log_abs_det_jacobian"):
        return distributions.adapted(given, "zuko")
    raise TypeError(f"zuko's {type(given).__name__} is no transform")


def input_shape(given: Any) -> Shape | None:
    """That of the flow's base distribution."""
    if not isinstance(given, zuko.lazy.Flow):
        return None
    return tuple(given.base(None).event_shape)
