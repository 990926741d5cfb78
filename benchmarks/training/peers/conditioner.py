"""The conditioner for libraries that take any module, or have no SiLU in theirs."""

from torch import nn


def layers(inputs: int, width: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Linear(inputs, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, outputs),
    ]
