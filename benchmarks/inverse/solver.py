"""How many evaluations of g the inverse of ``x + g(x)`` takes, accelerated and plain.

To the same residual, that of the dtype. Linear g of norm 0.9, so that the contraction is known:
what the spectrum is decides what acceleration can gain (docs/decisions/residual-blocks.md).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.row import Row
from harness.bijections.fixed_point import fixed_point

NORM, DIMENSION, SAMPLES, MATRICES = 0.9, 64, 64, 7
MAXIMUM = 1000
TARGET = 2.0


def symmetric(generator: torch.Generator) -> Tensor:
    basis = orthogonal(generator)
    eigenvalues = torch.linspace(-1, 1, DIMENSION, dtype=torch.float64)
    return (basis * eigenvalues) @ basis.mT


def gaussian(generator: torch.Generator) -> Tensor:
    drawn = torch.randn(DIMENSION, DIMENSION, generator=generator, dtype=torch.float64)
    matrix: Tensor = drawn / torch.linalg.matrix_norm(drawn, ord=2)
    return matrix


def orthogonal(generator: torch.Generator) -> Tensor:
    drawn = torch.randn(DIMENSION, DIMENSION, generator=generator, dtype=torch.float64)
    matrix: Tensor = torch.linalg.qr(drawn).Q
    return matrix


KINDS: dict[str, Callable[[torch.Generator], Tensor]] = {
    "symmetric g": symmetric,
    "Gaussian g": gaussian,
    "orthogonal g": orthogonal,
}


def evaluations(matrix: Tensor, y: Tensor, *, accelerated: bool) -> float:
    """Of a sample, on average.

    Raises:
        AssertionError: The inverse of a sample did not converge.
    """
    _, report = fixed_point(lambda x: x @ matrix.mT, y, MAXIMUM, accelerated=accelerated)
    if not report.converged.all():
        raise AssertionError("an inverse did not converge")
    return float(report.iterations.double().mean())


def rows(most: int | None = None) -> list[Row]:
    """A row for each spectrum; the figures are those of several matrices."""
    return [_row(kind, min(MATRICES, most or MATRICES)) for kind in KINDS]


def _row(kind: str, count: int) -> Row:
    values = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        matrix = (NORM * KINDS[kind](generator)).float()
        y = torch.randn(SAMPLES, DIMENSION, generator=generator)
        plain, fast = (evaluations(matrix, y, accelerated=one) for one in (False, True))
        values.append(plain / fast)
    return Row(
        group="inverse",
        subject="accelerated residual inverse",
        contender="plain fixed point, evaluations",
        setting=f"{kind} of norm {NORM}",
        members=1,
        unit="×",
        values=tuple(values),
        target=TARGET,
    )
