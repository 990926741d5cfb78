"""FrEIA: modules of lists of tensors, run backwards by ``rev=True``."""

import warnings
from typing import Any

from torch import Tensor

from harness.adapters.foreign import Foreign
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.registry import Shape

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it warns of at its import is not ours to show
    from FrEIA.framework import GraphINN, InputNode, OutputNode, SequenceINN
    from FrEIA.modules.base import InvertibleModule


class Layer(Foreign):
    """A module of one input and one output, or a whole graph of them."""

    held: Any

    def there(self, x: Tensor) -> Any:
        return self.held([x])

    def back(self, y: Tensor) -> Any:
        return self.held([y], rev=True)


def adapted(given: Any) -> Bijection:
    """A sequence's modules as a chain, a graph's where it is one path; else one layer.

    Raises:
        TypeError: It needs a condition, or has several inputs or outputs.
    """
    kind = type(given).__name__
    if not isinstance(given, InvertibleModule):
        raise TypeError(f"FrEIA's {kind} is no invertible module")
    if getattr(given, "dims_c", None) or any(
        condition is not None for condition in getattr(given, "conditions", [])
    ):
        raise TypeError(f"FrEIA's {kind} needs a condition beside its input")
    if isinstance(given, SequenceINN):
        if not len(given):
            raise TypeError("FrEIA's SequenceINN is empty")
        return Chain([adapted(part) for part in given])
    if isinstance(given, GraphINN):
        if len(given.in_nodes) != 1 or len(given.out_nodes) != 1:
            ends = f"{len(given.in_nodes)} inputs and {len(given.out_nodes)} outputs"
            raise TypeError(f"FrEIA's GraphINN has {ends}, and one of each is needed")
        parts = [n for n in given.node_list if not isinstance(n, InputNode | OutputNode)]
        if parts and all(len(n.inputs) == 1 and len(n.outputs) == 1 for n in parts):
            return Chain([adapted(node.module) for node in parts])
    elif len(given.dims_in) != 1:
        raise TypeError(f"FrEIA's {kind} has {len(given.dims_in)} inputs, and one is needed")
    return Layer(given, "FrEIA")


def input_shape(given: Any) -> Shape | None:
    """Its own: FrEIA fixes it when a network is built."""
    return tuple(given.dims_in[0])
