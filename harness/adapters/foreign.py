"""What every adapter is: a part of somebody else's code, held to our contract."""

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.adapters.failures import Failure, Failures, fails_as_a_whole
from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.box import Box
from harness.precisions import UnsupportedError

Answer = tuple[Tensor, Tensor | None]
"""A value ``(B, …)`` and its log-det, or ``None`` where the code knows none."""

ISOMETRIES = frozenset(
    {
        "HouseholderPerm",
        "IRevNetDownsampling",
        "Flatten",
        "Permutation",
        "PermutationTransform",
        "Permute",
        "PermuteRandom",
        "RandomPermutation",
        "Reshape",
        "ReversePermutation",
        "Squeeze",
        "SqueezeTransform",
    }
)
"""Classes of other libraries that move entries and change none."""

TRIANGULAR = re.compile(
    r"MaskedAutoregressiveTransform|ElementWiseTransform|GeneralCouplingTransform"  # zuko
    r"|AffineCouplingBlock|AffineConstFlow|MaskedAffine\w*|CoupledRational\w*"  # normflows
    r"|AutoregressiveRational\w*"
    r"|\w+CouplingTransform|Masked\w+AutoregressiveTransform|PointwiseAffineTransform"  # nflows
)
"""Classes whose Jacobian is triangular, in some order of the entries: its diagonal is what each
entry is multiplied by."""

LARGEST = 512
"""Dimensions up to which that diagonal is taken from the whole Jacobian."""


class Foreign(Bijection):
    """A map ``y = F(x)`` whose two directions somebody else has written.

    Where a direction raises on a batch, its samples are tried in halves, and those that fail by
    themselves are NaN: a failed assertion deep in a spline's inverse is a result of these samples,
    and no other's. What concerns all samples (a shape, a dtype, memory) is raised.

    Its bounds are infinite, for nothing is known of its weights, but for what moves entries only.

    A library's file says in :meth:`there` and :meth:`back` how its classes are called.

    Args:
        held: What is wrapped; its weights are this block's.
        library: Whose it is, for the name that a reader sees.
    """

    def __init__(self, held: object, library: str = "") -> None:
        super().__init__()
        name = type(held).__name__
        self.block_name = f"{library} {name}".strip()
        self.failures = Failures()
        self.held = held
        self._isometry = bool(library) and name in ISOMETRIES
        self._triangular = bool(library) and TRIANGULAR.fullmatch(name) is not None

    def there(self, x: Tensor) -> Any:
        """What the code answers forward: ``y``, or ``(y, log_det)``; or it raises."""
        raise NotImplementedError

    def back(self, y: Tensor) -> Any:
        """What it answers backward, likewise."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = self._tried("forward", self._forward, x)
        return y, _or_nan(log_det, x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``F⁻¹(y)``; a log-det that the code does not give is ``-log_det_F(F⁻¹(y))``."""
        x, log_det = self._tried("inverse", self._inverse, y)
        if log_det is not None:
            return x, log_det
        if x[0].numel() != y[0].numel():  # no bijection: there is no way forward from here
            return x, _or_nan(None, y)
        return x, -self(x)[1]

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        bound = 1.0 if self._isometry else math.inf
        return BiLipschitz(bound, bound)

    @torch.enable_grad()
    def scales(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        """``|∂y_i/∂x_i|``, ``(B, D)``, of a coupling, autoregressive or elementwise block.

        ``None`` of other blocks, and beyond :data:`LARGEST` dimensions. Cost: D products.
        """
        size = x[0].numel()
        if not self._triangular or size > LARGEST:
            return None
        x = x.detach().requires_grad_()
        y = self(x)[0].flatten(1)
        if y.shape[1] != size or not y.requires_grad:
            return None
        basis = torch.eye(size, dtype=y.dtype, device=y.device)
        directions = basis.unsqueeze(1).expand(size, len(y), size)
        (rows,) = torch.autograd.grad(y, x, directions, is_grads_batched=True)
        return rows.flatten(2).diagonal(dim1=0, dim2=2).abs().detach()

    def _forward(self, x: Tensor) -> Answer:
        # A copy, for their code may write into what it is given.
        return read(self.there(x.clone()), x, f"{self.block_name}, forward")

    def _inverse(self, y: Tensor) -> Answer:
        return read(self.back(y.clone()), y, f"{self.block_name}, inverse")

    def _tried(self, direction: str, function: Callable[[Tensor], Answer], x: Tensor) -> Answer:
        try:
            return function(x)
        except Exception as error:
            if fails_as_a_whole(error, x):
                raise
            if is_of_a_dtype(error):
                said = str(error).splitlines()[0]
                raise UnsupportedError(f"{self.block_name}: {said}") from None
        parts = list(self._parts(direction, function, x))
        return _joined(parts, x)

    def _parts(
        self, direction: str, function: Callable[[Tensor], Answer], x: Tensor
    ) -> list[Answer | None]:
        """An answer for each run of samples that has one, ``None`` for each sample that failed."""
        try:
            return [function(x)]
        except Exception as error:
            if fails_as_a_whole(error, x):
                raise
            if len(x) == 1:
                self.failures.add(direction, self.block_name or "", error, x.dtype)
                return [None]
        half = len(x) // 2
        return [
            *self._parts(direction, function, x[:half]),
            *self._parts(direction, function, x[half:]),
        ]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Foreign":
        """Move the weights, and the tensors that are neither parameters nor buffers with them."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        seen: set[int] = set()
        _move_plain(self.held, fn, seen)
        return self


def is_of_a_dtype(error: Exception) -> bool:
    """Whether two dtypes met that do not go together: the code has one written into it."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("same dtype" in text or "scalar type" in text)


def read(answer: Any, x: Tensor, who: str) -> Answer:
    """What a direction answered: ``y``, or ``(y, log_det)``, for the batch ``x``.

    Raises:
        TypeError: It is neither.
    """
    y, log_det = answer if isinstance(answer, tuple | list) and len(answer) == 2 else (answer, None)
    if isinstance(answer, tuple | list) and len(answer) == 1:
        y = answer[0]
    if isinstance(y, tuple | list) and len(y) == 1:  # FrEIA's lists of one
        y = y[0]
    if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != len(x):
        what = f"a tensor of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        message = f"{who}: a batch of {len(x)} should give as many values, not {what}"
        raise TypeError(message)
    return y, None if log_det is None else _per_sample(log_det, y, who)


def _per_sample(log_det: Any, y: Tensor, who: str) -> Tensor:
    """A log-det as ``(B,)``; one that is the same for all samples may be a number."""
    if not isinstance(log_det, Tensor):
        return y.new_full((len(y),), float(log_det))
    if log_det.numel() == 1 and log_det.ndim <= 1:
        return log_det.reshape(()).expand(len(y))
    if log_det.shape[0] != len(y) or log_det.numel() != len(y):
        shape = tuple(log_det.shape)
        raise TypeError(f"{who}: a log-det is one number a sample, not of shape {shape}")
    return log_det.reshape(len(y))


def _or_nan(log_det: Tensor | None, x: Tensor) -> Tensor:
    unknown: Tensor = x.new_full((len(x),), math.nan)
    return unknown if log_det is None else log_det


def _joined(parts: list[Answer | None], x: Tensor) -> Answer:
    """Answers of runs of samples as one; NaN, joined to the input, for those that failed."""
    known = next((part for part in parts if part is not None), None)
    shape = x.shape[1:] if known is None else known[0].shape[1:]
    without = known is not None and known[1] is None
    values, log_dets, place = [], [], 0
    for part in parts:
        if part is None:
            lost = x[place].sum() * math.nan
            values.append(lost.expand(1, *shape))
            log_dets.append(lost.expand(1))
            place += 1
        else:
            values.append(part[0])
            log_dets.append(_or_nan(part[1], part[0]))
            place += len(part[0])
    return torch.cat(values), None if without else torch.cat(log_dets)


def _move_plain(held: object, fn: Callable[[Tensor], Tensor], seen: set[int]) -> None:
    """Move tensors that are plain attributes of modules, or of transforms that are no modules."""
    if id(held) in seen:
        return
    seen.add(id(held))
    owners = list(held.modules()) if isinstance(held, nn.Module) else [held]
    for owner in owners:
        for name, value in list(vars(owner).items()) if hasattr(owner, "__dict__") else []:
            if isinstance(value, Tensor):
                vars(owner)[name] = fn(value)
            elif isinstance(value, torch.distributions.Transform):
                _move_plain(value, fn, seen)
            elif isinstance(value, list | tuple):
                for one in value:
                    if isinstance(one, torch.distributions.Transform):
                        _move_plain(one, fn, seen)


def failures_of(flow: nn.Module) -> Counter[Failure]:
    """How many samples failed, and how, in all adapted parts."""
    total: Counter[Failure] = Counter()
    for part in flow.modules():
        if isinstance(part, Foreign):
            total += part.failures.counts
    return total
