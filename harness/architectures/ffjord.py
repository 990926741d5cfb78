"""FFJORD for vectors."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from harness.bijections.actnorm import ActNorm
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.flow_log_determinant import FlowLogDeterminant, Hutchinson, Trace
from harness.bijections.neural_ode import NeuralODE
from harness.bijections.reshape import Flatten
from harness.bijections.vector_field import VectorField
from harness.registry import Shape, entry


@entry(version=1)
def ffjord(
    shape: Shape,
    generator: torch.Generator,
    *,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 1,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    solver: Literal["euler", "midpoint", "rk4"] = "rk4",
    steps: Annotated[int, Field(ge=1, le=10_000)] = 8,
    corrections: Annotated[int, Field(ge=0, le=100)] = 0,
    log_det: Literal["steps", "trace", "hutchinson"] = "steps",
    actnorm: bool = True,
) -> Bijection:
    """Continuous normalizing flow by a solver of fixed steps: bounded both ways by its Lipschitz f.

    ``x' = f(t, x)`` over unit time, arXiv 1806.07366 and 1810.01367. The inverse integrates back,
    and says by how much that misses; ``corrections`` make it the inverse of the solver's map.
    The log-det is exact for that map (``steps``), or the integral of the trace of f's Jacobian,
    as in the papers, exact (``trace``) or with random signs while it trains (``hutchinson``).
    """
    dimension = math.prod(shape)
    parts: list[Bijection] = [Flatten(shape)]
    for _ in range(blocks):
        if actnorm:
            parts.append(ActNorm(dimension))
        field = VectorField(dimension, width, layers, generator)
        in_training: FlowLogDeterminant | None = None if log_det == "steps" else Trace()
        in_evaluation = in_training
        if log_det == "hutchinson":
            in_training = Hutchinson(dimension, generator)
        ode = NeuralODE(
            field,
            solver,
            steps,
            corrections=corrections,
            in_training=in_training,
            in_evaluation=in_evaluation,
        )
        parts.append(ode)
    return Chain(parts)
