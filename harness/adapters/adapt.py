"""Whatever is invertible, as a bijection."""

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from harness.adapters.plain import adapted as plain
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.registry import Shape

LIBRARIES = {
    "FrEIA": "harness.adapters.freia",
    "nflows": "harness.adapters.nflows",
    "normflows": "harness.adapters.normflows",
    "zuko": "harness.adapters.zuko",
}
"""Packages whose classes are recognised, and the file that knows one: imported where it is met."""


def adapted(given: Any) -> Bijection:
    """A bijection that maps data to the latent.

    Args:
        given: A bijection; a network or a layer of zuko, normflows, nflows or FrEIA, recognised by
            the module that its class comes from; a transform of ``torch.distributions``; a module
            or object with ``forward`` and ``inverse``, a sequence of such modules, or a pair of
            functions. A library's composite becomes a :class:`Chain` of its layers, each with a
            name for a reader.

    Raises:
        TypeError: It cannot be inverted, or needs a context; why, in one sentence.
    """
    if isinstance(given, Bijection):
        return given
    if library := _library(given):
        found: Bijection = importlib.import_module(library).adapted(given)
        return found
    if isinstance(given, nn.Sequential) and len(given) and not hasattr(given, "inverse"):
        return Chain([adapted(part) for part in given])
    return plain(given)


def input_shape(given: Any) -> Shape | None:
    """The shape of one input, where the library's object says it."""
    if library := _library(given):
        find: Callable[[Any], Shape | None] = importlib.import_module(library).input_shape
        return find(given)
    return None


def _library(given: Any) -> str | None:
    for one in type(given).__mro__:
        root = one.__module__.split(".")[0]
        if root in LIBRARIES:
            return LIBRARIES[root]
        if one.__module__ == "torch.distributions.transforms":
            return "harness.adapters.distributions"
    return None
