"""How many evaluations of g the inverse of ``x + g(x)`` takes, accelerated and plain.

To the same residual, that of float32. Of residual flows that were trained with the coefficient
0.9, and of linear g of norm 0.9: what the spectrum is decides what acceleration can gain
(docs/decisions/residual-blocks.md), and no target was set for spectra that training does not make.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from benchmarks.row import Row
from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.residual.fixed_point import fixed_point
from harness.bijections.residual.residual import Residual
from harness.seeding import generator as seeded
from harness.suite.model import Training
from harness.training.batches import Batches
from harness.training.loop import Member, train

NORM, DIMENSION, SAMPLES, MATRICES = 0.9, 64, 64, 7
MAXIMUM = 1000
TARGET = 2.0
TRAINED = {"eight_gaussians": 1000, "checkerboard": 1000, "digits": 300}
"""Steps of training on each dataset, batch 128."""
SEEDS = 3


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
    """A row for each dataset, of several seeds, and for each spectrum, of several matrices."""
    trained = [_of_trained(dataset, min(SEEDS, most or SEEDS)) for dataset in TRAINED]
    return trained + [_of_linear(kind, min(MATRICES, most or MATRICES)) for kind in KINDS]


def _of_trained(dataset: str, count: int) -> Row:
    values = []
    for seed in range(count):
        flow, x = _trained(dataset, seed)
        taken = [0.0, 0.0]
        for block in cast(Chain, flow).parts:
            y = block(x)[0]
            if isinstance(block, Residual):
                for number in (0, 1):
                    block.accelerated = number == 1
                    taken[number] += _evaluations_of(block, y)
            x = y
        values.append(taken[0] / taken[1])
    return _row(f"trained on {dataset}, coefficient {NORM}", values, TARGET)


def _evaluations_of(block: Residual, y: Tensor) -> float:
    report = block.inverse_with_convergence(y)[2]
    if not report.converged.all():
        raise AssertionError("an inverse did not converge")
    return float(report.iterations.double().mean())


@torch.no_grad()
def _trained(name: str, seed: int) -> tuple[Bijection, Tensor]:
    """A residual flow in evaluation mode, and test inputs."""
    dataset = registry.build("dataset", registry.resolve("dataset", name))
    choice = registry.resolve("architecture", {"name": "residual", "coefficient": NORM})
    flow: Bijection = registry.build("architecture", choice, dataset.shape, seeded(seed, "solver"))
    settings = Training(steps=TRAINED[name], batch_size=128, learning_rate=5e-3)
    task, none = (
        registry.build(axis, registry.resolve(axis, entry))
        for axis, entry in (("task", "density"), ("regularizer", "none"))
    )
    splits = dataset.read()
    batches = Batches(dataset, splits.train, 128, [seed])
    with torch.enable_grad():
        (ended,) = train([Member(flow, settings, none, seed)], task, batches)
    if ended.status != "ok":
        raise AssertionError(f"a residual flow on {name} ended as {ended.status}")
    return flow.eval(), dataset.prepare(splits.test[:256], seeded(seed, "inputs"))


def _of_linear(kind: str, count: int) -> Row:
    values = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        matrix = (NORM * KINDS[kind](generator)).float()
        y = torch.randn(SAMPLES, DIMENSION, generator=generator)
        plain, fast = (evaluations(matrix, y, accelerated=one) for one in (False, True))
        values.append(plain / fast)
    return _row(f"{kind} of norm {NORM}", values, None)


def _row(setting: str, values: list[float], target: float | None) -> Row:
    return Row(
        group="inverse",
        subject="accelerated residual inverse",
        contender="plain fixed point, evaluations",
        setting=setting,
        members=1,
        unit="×",
        values=tuple(values),
        target=target,
    )
