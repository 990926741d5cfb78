"""FFJORD for vectors, by a solver of fixed steps."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from harness.architectures.continuous_flow import LogDet, continuous_flow
from harness.bijections.base import Bijection
from harness.bijections.continuous.neural_ode import NeuralODE
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
    log_det: LogDet = "steps",
    actnorm: bool = True,
) -> Bijection:
    """Continuous flow by fixed steps: bounded forward, and back where the steps are short.

    ``x' = f(t, x)`` over unit time, arXiv 1806.07366 and 1810.01367. The inverse integrates back,
    and says by how much that misses; ``corrections`` make it the inverse of the solver's map.
    The log-det is exact for that map (``steps``), or the integral of the trace of f's Jacobian,
    as in the papers, exact (``trace``) or with random signs while it trains (``hutchinson``).
    """
    return continuous_flow(
        shape,
        generator,
        lambda field, in_training, in_evaluation: NeuralODE(
            field,
            solver,
            steps,
            corrections=corrections,
            in_training=in_training,
            in_evaluation=in_evaluation,
        ),
        blocks=blocks,
        width=width,
        layers=layers,
        log_det=log_det,
        actnorm=actnorm,
    )
