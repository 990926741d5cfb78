"""What a function is given where several networks answer it as one."""

from typing import Any, NoReturn

from torch import Tensor

from harness.bijections.base import Bijection, Convergence


class AsOne:
    """Stands for a network, and runs all of them: on as many samples of each, and in no other way.

    Networks made one take the first part of what they are given for samples of the first network,
    and so on. What a function makes of its samples by itself, more of them or fewer, would meet
    the wrong networks, and their weights are not there to be looked at: whatever else is done
    than to call it on all samples raises, and then each network answers by itself.

    Args:
        everything: All networks.
        rows: How many samples they are given together.
    """

    def __init__(self, everything: Bijection, rows: int) -> None:
        self._everything, self._rows = everything, rows

    def __call__(self, x: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        self._check(x, context)
        y, log_det = self._everything(x)
        return y, log_det

    def inverse(self, y: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        self._check(y, context)
        return self._everything.inverse(y)

    def inverse_with_convergence(
        self, y: Tensor, context: None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        self._check(y, context)
        return self._everything.inverse_with_convergence(y)

    def __getattr__(self, name: str) -> NoReturn:
        raise NotImplementedError(f"{name} of several networks")

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What ``isinstance`` asks."""
        raise NotImplementedError("the class of several networks")

    def _check(self, x: Tensor, context: Tensor | None) -> None:
        if len(x) != self._rows or context is not None:
            raise NotImplementedError("not one call on all samples")
