"""The flow as a person would write it in plain torch: the baseline.

The same mathematics with the same shapes: ActNorm, affine coupling with ``sigmoid(h + 2)``, SiLU
conditioners. Its loop is :class:`benchmarks.training.contender.PlainLoop`.
"""

import math

import torch
from torch import Tensor, nn

from benchmarks.training.contender import COUPLINGS, Network

NAME = "plain torch by hand"


class HandFlow(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.biases = nn.Parameter(torch.zeros(COUPLINGS, 2))
        self.log_scales = nn.Parameter(torch.zeros(COUPLINGS, 2))
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(1, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, 2),
            )
            for _ in range(COUPLINGS)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros(len(x))
        for number, net in enumerate(self.nets):
            x = (x + self.biases[number]) * self.log_scales[number].exp()
            log_det = log_det + self.log_scales[number].sum()
            a, b = x.chunk(2, dim=1)
            kept, changed = (b, a) if number % 2 else (a, b)
            raw, shift = net(kept).chunk(2, dim=1)
            changed = changed * torch.sigmoid(raw + 2) + shift
            log_det = log_det + nn.functional.logsigmoid(raw + 2).sum(1)
            x = torch.cat([changed, kept] if number % 2 else [kept, changed], dim=1)
        return x, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros(len(z))
        for number, net in reversed(list(enumerate(self.nets))):
            a, b = z.chunk(2, dim=1)
            kept, changed = (b, a) if number % 2 else (a, b)
            raw, shift = net(kept).chunk(2, dim=1)
            changed = (changed - shift) / torch.sigmoid(raw + 2)
            log_det = log_det - nn.functional.logsigmoid(raw + 2).sum(1)
            z = torch.cat([changed, kept] if number % 2 else [kept, changed], dim=1)
            z = z * (-self.log_scales[number]).exp() - self.biases[number]
            log_det = log_det - self.log_scales[number].sum()
        return z, log_det

    def loss(self, x: Tensor) -> Tensor:
        z, log_det = self(x)
        mean: Tensor = -(-0.5 * (z * z).sum(1) - math.log(2 * math.pi) + log_det).mean()
        return mean


def network(width: int) -> Network:
    flow = HandFlow(width)
    return Network(NAME, flow, flow.loss, lambda x: flow(x)[0], lambda z: flow.inverse(z)[0])
