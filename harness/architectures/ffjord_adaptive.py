"""FFJORD for vectors, by an adaptive solver."""

from typing import Annotated

import torch
from pydantic import Field

from harness.architectures.continuous_flow import LogDet, continuous_flow
from harness.bijections.base import Bijection
from harness.bijections.continuous.adaptive_ode import AdaptiveODE
from harness.registry import Shape, entry


@entry(version=1, branches=("forward", "inverse"))
def ffjord_adaptive(
    shape: Shape,
    generator: torch.Generator,
    *,
    blocks: Annotated[int, Field(ge=1, le=1000)] = 1,
    width: Annotated[int, Field(ge=1)] = 32,
    layers: Annotated[int, Field(ge=1)] = 2,
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-5,
    maximum_steps: Annotated[int, Field(ge=1, le=100_000)] = 1000,
    corrections: Annotated[int, Field(ge=0, le=100)] = 0,
    log_det: LogDet = "steps",
    actnorm: bool = True,
) -> Bijection:
    """Continuous flow by dopri5, with steps that each sample chooses: no global bound.

    arXiv 1810.01367; ``tolerance`` is that of a step's error, ``corrections`` and ``log_det`` are
    as in ``ffjord``. The steps depend on the values, so no pack can run it.
    """
    return continuous_flow(
        shape,
        generator,
        lambda field, in_training, in_evaluation: AdaptiveODE(
            field,
            tolerance,
            maximum_steps,
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
