"""Transforms of ``torch.distributions``, which zuko's are made of."""

from typing import Any

import torch
from torch import Tensor

from harness.adapters.foreign import Foreign
from harness.bijections.base import Bijection, sum_per_sample
from harness.bijections.chain import Chain
from harness.registry import Shape


class Transformation(Foreign):
    """A transform, or a module that builds one at each call without a context."""

    held: Any

    def transform(self) -> Any:
        """The transform, of the present weights."""
        return self.held

    def there(self, x: Tensor) -> Any:
        transform = self.transform()
        if hasattr(transform, "call_and_ladj"):
            y, log_det = transform.call_and_ladj(x)
        else:
            y = transform(x)
            log_det = transform.log_abs_det_jacobian(x, y)
        return y, _of_a_sample(log_det)

    def back(self, y: Tensor) -> Any:
        transform = self.transform()
        x = transform.inv(y)
        return x, _of_a_sample(-transform.log_abs_det_jacobian(x, y))


def _of_a_sample(log_det: Tensor) -> Tensor:
    """Of an elementwise transform there is one number an entry: their sum."""
    return sum_per_sample(log_det) if log_det.ndim > 1 else log_det


SIDE_BY_SIDE = torch.distributions.CatTransform, torch.distributions.StackTransform
"""Their transforms each take a part of the input, and do not follow each other."""


def adapted(given: Any, library: str = "") -> Bijection:
    """A chain of a composite's transforms, or one layer.

    Raises:
        TypeError: It is no bijection: ``AbsTransform``, ``SoftmaxTransform``.
    """
    parts = getattr(given, "transforms", None) or getattr(given, "parts", None)
    if parts and not isinstance(given, SIDE_BY_SIDE):
        return Chain([adapted(part, library) for part in parts])
    if not given.bijective:
        raise TypeError(f"{type(given).__name__} is no bijection")
    return Transformation(given, library)


def input_shape(given: torch.distributions.Transform) -> Shape | None:
    """A transform takes any shape."""
    return None
