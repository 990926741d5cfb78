"""Modules, objects and pairs of functions that are one's own."""

from typing import Any

from torch import Tensor, nn

from harness.adapters.foreign import Foreign


class Plain(Foreign):
    """An object's own ``forward`` and ``inverse``."""

    held: Any

    def there(self, x: Tensor) -> Any:
        called = isinstance(self.held, nn.Module) or not hasattr(self.held, "forward")
        return self.held(x) if called else self.held.forward(x)

    def back(self, y: Tensor) -> Any:
        return self.held.inverse(y)


class Pair(Foreign):
    """Two functions, or methods: those of a module take their weights along."""

    def __init__(self, there: Any, back: Any) -> None:
        super().__init__(getattr(there, "__self__", None))
        self.block_name = getattr(there, "__name__", "forward")
        self.functions = there, back

    def there(self, x: Tensor) -> Any:
        return self.functions[0](x)

    def back(self, y: Tensor) -> Any:
        return self.functions[1](y)


def adapted(given: Any) -> Foreign:
    """One layer: of a module or object with an inverse, or of two functions.

    Either direction returns a value, or a value and its log-det; a log-det that ``forward`` does
    not return is unknown, NaN.

    Raises:
        TypeError: There is no inverse.
    """
    if isinstance(given, tuple | list) and len(given) == 2 and all(map(callable, given)):
        return Pair(*given)
    name = type(given).__name__
    if not callable(getattr(given, "inverse", None)):
        raise TypeError(f"{name} has no method 'inverse', so that it cannot be run backwards")
    if not callable(given) and not callable(getattr(given, "forward", None)):
        raise TypeError(f"{name} has an inverse, and no method 'forward'")
    return Plain(given)
