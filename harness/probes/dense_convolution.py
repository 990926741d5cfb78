"""Convolutions of small images in float64 on a processor, as products with a matrix."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

MOST_PIXELS = 64
"""Height times width up to which the matrix, which is mostly zeros, is the faster way."""


class DenseConvolutions(TorchFunctionMode):
    """Within it ``conv2d`` multiplies by its matrix ``(C·H·W, C'·H·W)``, 1×1 by its kernel.

    PyTorch has no fast convolution in float64 there: it takes image by image, also backwards, and
    a Jacobian asks for D backward passes of each. Values differ by rounding. Convolutions of more
    than :data:`MOST_PIXELS`, of other dtypes, devices or strides stay what they are. The matrix of
    a kernel is made once within one mode: a log-det by a series multiplies by it many times.
    """

    def __init__(self) -> None:
        super().__init__()
        # With the kernel, so that no other gets its identity.
        self._matrices: dict[tuple[int, torch.Size], tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            return self._conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _conv2d(
        self,
        input: Tensor,  # noqa: A002 - conv2d's own name
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        size = weight.shape[-1]
        plain = _is(stride, 1) and _is(dilation, 1) and groups == 1 and _is(padding, size // 2)
        slow = input.dtype == torch.float64 and input.device.type == "cpu" and input.ndim == 4
        pixels = input.shape[-2:].numel()
        if not (plain and slow and size % 2 and weight.shape[-2] == size and pixels <= MOST_PIXELS):
            return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
        if size == 1:
            product = weight.flatten(1) @ input.flatten(2)
        else:
            product = input.flatten(1) @ self._matrix(weight, input.shape[1:])
        y = product.view(len(input), -1, *input.shape[2:])
        return y if bias is None else y + bias[:, None, None]

    def _matrix(self, weight: Tensor, shape: torch.Size) -> Tensor:
        key = id(weight), shape
        if key not in self._matrices:
            # Its columns are what the convolution makes of each image with a single 1.
            unit = torch.eye(shape.numel(), dtype=weight.dtype).view(-1, *shape)
            made = F.conv2d(unit, weight, padding=weight.shape[-1] // 2).flatten(1)
            self._matrices[key] = weight, made
        return self._matrices[key][1]


def _is(given: Any, number: int) -> bool:
    return given == number or (isinstance(given, list | tuple) and set(given) == {number})
