"""The frame that the continuous flows for vectors share."""

import math
from collections.abc import Callable
from typing import Literal

import torch

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.continuous.flow_log_determinant import (
    FlowLogDeterminant,
    Hutchinson,
    OfSteps,
    Trace,
)
from harness.bijections.continuous.neural_ode import NeuralODE
from harness.bijections.continuous.vector_field import VectorField
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.shape.reshape import Flatten
from harness.registry import Shape

LogDet = Literal["steps", "trace", "hutchinson"]
Make = Callable[[VectorField, FlowLogDeterminant, FlowLogDeterminant], NeuralODE]
"""Of a field, and the log-dets in training and in evaluation."""


def continuous_flow(
    shape: Shape,
    generator: torch.Generator,
    make: Make,
    *,
    blocks: int,
    width: int,
    layers: int,
    log_det: LogDet,
    actnorm: bool,
) -> Bijection:
    """Steps of [ActNorm,] neural ODE over the flattened input."""
    dimension = math.prod(shape)
    parts: list[Bijection] = [Flatten(shape)]
    for _ in range(blocks):
        if actnorm:
            parts.append(ActNorm(dimension))
        field = VectorField(dimension, width, layers, generator)
        exact = OfSteps() if log_det == "steps" else Trace()
        estimated = Hutchinson(dimension, generator) if log_det == "hutchinson" else exact
        parts.append(make(field, estimated, exact))
    return Chain(parts)
