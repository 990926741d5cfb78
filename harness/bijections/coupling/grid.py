"""Fixed-point numbers held in floats: where sums are exact."""

import torch
from torch import Tensor

from harness.bijections.box import Box


class Grid:
    """All multiples of ``h = 2^(i - p)``, where a float of the dtype has p significant bits.

    p is 24 of float32, 53 of float64, 11 of float16 and 8 of bfloat16. Up to ``±2^i`` every
    multiple of h is a float, and so sums and differences of multiples that stay there are exact:
    it is integer arithmetic. Beyond, floats lie wider apart than h, and sums are rounded again.

    Args:
        integer_bits: i, from 0 to 64. Of float32, 8 leave 16 bits behind the point.

    Raises:
        ValueError: ``integer_bits`` is out of that range.
    """

    def __init__(self, integer_bits: int) -> None:
        if not 0 <= integer_bits <= 64:
            message = f"grid: integer_bits must be from 0 to 64, not {integer_bits}"
            raise ValueError(message)
        self.limit = 2.0**integer_bits

    def step(self, dtype: torch.dtype) -> float:
        """The distance of neighbours, h."""
        return self.limit * torch.finfo(dtype).eps / 2

    def round(self, x: Tensor) -> Tensor:
        """The nearest multiple of h; of a tie the even one. The gradient goes straight through.

        What lies beyond ``±2^i`` is a multiple already, and stays, as NaN does.
        """
        step = self.step(x.dtype)
        inside = x.abs() < self.limit  # beyond, a division by the step may overflow
        off = torch.where(inside, (x / step).round() * step - x, 0.0)
        return x + off.detach()  # exact: of two floats within a factor of two, or one of them 0

    def around(self, box: Box, dtype: torch.dtype) -> Box:
        """A box around the rounded entries of a box."""
        half = self.step(dtype) / 2
        return Box(box.lower - half, box.upper + half)
