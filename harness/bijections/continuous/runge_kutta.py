"""Explicit Runge-Kutta methods: a method is a table of numbers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

State = tuple[Tensor, ...]
"""What is integrated together, each ``(B, …)``."""
Time = float | Tensor
"""The same for all samples, or ``(B,)``."""
Derivative = Callable[[Time, State], State]


class Method(NamedTuple):
    """``u' = u + h Σ b_i k_i`` with ``k_i = f(t + c_i h, u + h Σ_{j<i} a_ij k_j)``.

    Attributes:
        nodes: c.
        stages: Rows of a, below the diagonal.
        weights: b.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


METHODS = {  # for steps of one size
    "euler": Method((0.0,), ((),), (1.0,)),
    "midpoint": Method((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "rk4": Method(
        (0.0, 0.5, 0.5, 1.0),
        ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
}


DOPRI5 = Method(
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""Of order 5 (Dormand and Prince 1980)."""
DOPRI5_ERROR = Method(
    (*DOPRI5.nodes, 1.0),
    (*DOPRI5.stages, DOPRI5.weights),
    (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)
"""What its step adds, less what a method of order 4 with the same stages adds."""


def step(method: Method, derivative: Derivative, time: Time, size: Time, state: State) -> State:
    """One step from ``time`` to ``time + size``; a negative size goes back.

    A linear part of the state that is its own derivative's Jacobian times itself comes out as the
    exact derivative of the step: Runge-Kutta methods commute with differentiation.
    """
    return _plus(state, increment(method, derivative, time, size, state))


def increment(
    method: Method, derivative: Derivative, time: Time, size: Time, state: State
) -> State:
    """``h Σ b_i k_i``: what a step adds."""
    return weighted(size, method.weights, slopes(method, derivative, time, size, state))


def slopes(
    method: Method, derivative: Derivative, time: Time, size: Time, state: State
) -> list[State]:
    """All ``k_i``."""
    found: list[State] = []
    for node, row in zip(method.nodes, method.stages, strict=True):
        inner = _plus(state, weighted(size, row, found)) if any(row) else state
        found.append(derivative(time + node * size, inner))
    return found


def _plus(state: State, change: State) -> State:
    return tuple(one + by for one, by in zip(state, change, strict=True))


def weighted(size: Time, weights: Sequence[float], found: Sequence[State]) -> State:
    """``h Σ w_i k_i``, of which at least one w is not 0."""
    used = [(w, slope) for w, slope in zip(weights, found, strict=True) if w]
    changes = []
    for number in range(len(found[0])):
        (first, slope), *rest = used
        total = first * slope[number]
        for weight, slope in rest:
            total = total + weight * slope[number]
        each = size.view(-1, *[1] * (total.ndim - 1)) if isinstance(size, Tensor) else size
        changes.append(each * total)
    return tuple(changes)


def growth(method: Method, product: float) -> float:
    """``p(hL)``: what a step of size h with ``Lip(f) ≤ L`` grows distances by, at most.

    ``Lip(k_i) ≤ L (1 + h Σ |a_ij| Lip(k_j))``, and so ``1 + Lip(h Σ b_i k_i) ≤ p(hL)``, a
    polynomial: for methods whose numbers are not negative, the first terms of ``exp(hL)``, for
    :data:`DOPRI5` more than that. A step moves differences by at least ``2 - p(hL)`` of them.
    """
    found: list[float] = []
    for row in method.stages:
        inner = sum(abs(a) * slope for a, slope in zip(row, found, strict=True) if a)
        found.append(product * (1 + inner))
    return 1 + sum(abs(b) * slope for b, slope in zip(method.weights, found, strict=True) if b)
