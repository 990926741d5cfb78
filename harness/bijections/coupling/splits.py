"""How a coupling parts its input: an orthogonal map onto two parts, and back.

Within a pack vectors lie channel by channel, ``(S, C, B)``, so splits of vectors may use nothing
but dimension 1.
"""

import torch
from torch import Tensor


class Split:
    """An input in two parts, first and second.

    A conditioner may see more than the part as it lies in memory: on a checkerboard a pixel's
    neighbours belong to the other part, and what is near should stay near.
    """

    def channels(self, total: int) -> tuple[int, int]:
        """How many of ``total`` channels (dimension 1) the parts have."""
        raise NotImplementedError

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first and the second part.

        Raises:
            ValueError: This shape cannot be parted so.
        """
        raise NotImplementedError

    def together(self, first: Tensor, second: Tensor) -> Tensor:
        """The inverse of :meth:`apart`."""
        raise NotImplementedError

    def shown(self, part: Tensor, *, second: bool) -> Tensor:
        """A part as the conditioner sees it: an isometry. ``second`` tells which part it is."""
        return part

    def read(self, h: Tensor, *, second: bool) -> Tensor:
        """What of the conditioner's output, given that part, belongs to the other part."""
        return h


class Halves(Split):
    """The first channels, and the others: of vectors and of images.

    Args:
        first: How many come first, at least 1.
    """

    def __init__(self, first: int) -> None:
        if first < 1:
            message = (
                f"a coupling splits its channels in two, so 'first' is at least 1, not {first}"
            )
            raise ValueError(message)
        self.first = first

    def channels(self, total: int) -> tuple[int, int]:
        return self.first, total - self.first

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1] <= self.first:
            message = f"a coupling with first={self.first} has nothing to change in {x.shape[1]}"
            raise ValueError(f"{message} channels")
        # One split: its gradient is one concatenation, where two slices would each fill a tensor.
        first, second = x.split_with_sizes([self.first, x.shape[1] - self.first], dim=1)
        return first, second

    def together(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], dim=1)


class Alternating(Split):
    """Channels 0, 2, 4, … and channels 1, 3, 5, …: NICE's (arXiv 1410.8516)."""

    def channels(self, total: int) -> tuple[int, int]:
        return (total + 1) // 2, total // 2

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1] < 2:
            raise ValueError("a coupling that takes every other channel needs at least 2, not 1")
        return x[:, 0::2], x[:, 1::2]

    def together(self, first: Tensor, second: Tensor) -> Tensor:
        pairs = second.shape[1]
        mixed = torch.stack([first[:, :pairs], second], dim=2).flatten(1, 2)
        return torch.cat([mixed, first[:, pairs:]], dim=1) if first.shape[1] > pairs else mixed


class Checkerboard(Split):
    """Pixels whose row and column add up to an even number, and the others (arXiv 1605.08803).

    Each part is ``(B, C, H, W/2)``: the pixels of a row move together. The conditioner sees them
    in their places, with zeros between. Height and width are even.
    """

    def channels(self, total: int) -> tuple[int, int]:
        return total, total

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim != 4 or x.shape[2] % 2 or x.shape[3] % 2:
            message = "a checkerboard needs images (B, C, H, W) of even height and width, not"
            raise ValueError(f"{message} {tuple(x.shape)}")
        batch, channels, height, width = x.shape
        squares = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
        upper, lower = squares.unbind(3)
        parts = [(upper[..., 0], lower[..., 1]), (upper[..., 1], lower[..., 0])]
        first, second = (torch.stack(rows, dim=3).flatten(2, 3) for rows in parts)
        return first, second

    def together(self, first: Tensor, second: Tensor) -> Tensor:
        upper_first, lower_first = _pairs(first)
        upper_second, lower_second = _pairs(second)
        upper = torch.stack([upper_first, upper_second], dim=4).flatten(3, 4)
        lower = torch.stack([lower_second, lower_first], dim=4).flatten(3, 4)
        return torch.stack([upper, lower], dim=3).flatten(2, 3)

    def shown(self, part: Tensor, *, second: bool) -> Tensor:
        nothing = torch.zeros_like(part)
        return self.together(nothing, part) if second else self.together(part, nothing)

    def read(self, h: Tensor, *, second: bool) -> Tensor:
        return self.apart(h)[0 if second else 1]


def _pairs(part: Tensor) -> tuple[Tensor, ...]:
    """The even and the odd rows."""
    batch, channels, height, width = part.shape
    return part.reshape(batch, channels, height // 2, 2, width).unbind(3)
