import sys
from pathlib import Path

import pytest

OWN = '''
import torch
from torch import nn


class Scaled(nn.Module):
    """y = w x."""

    def __init__(self, dimensions=2, noise=0.0, stretch=1.0, cut=0):
        super().__init__()
        self.scale = nn.Parameter(torch.full((dimensions,), 2.0))
        self.noise, self.stretch, self.cut = noise, stretch, cut

    def forward(self, x):
        y = x * self.scale + self.noise * torch.randn_like(x)
        return y[:, self.cut:], self.scale.log().sum()

    def inverse(self, y):
        return y / self.scale, -self.scale.log().sum()


def good():
    return Scaled()


def shaped(shape, generator):
    return Scaled(shape[0])


def no_inverse():
    return nn.Linear(2, 2)


def noisy():
    return Scaled(noise=0.1)


def halves():
    return Scaled(cut=1)


class OtherShape(Scaled):
    def inverse(self, y):
        return y.repeat(1, 2)


def other_shape():
    return OtherShape()


class Picky(Scaled):
    def forward(self, x):
        assert (x > 100).all(), "out of the box"
        return super().forward(x)


def picky():
    return Picky()


class Blind(Scaled):
    def forward(self, x):
        return super().forward(x)[0]

    def inverse(self, y):
        return super().inverse(y)[0]


def blind():
    return Blind()


class Half(Scaled):
    """Half of it is not written."""

    def inverse(self, y):
        raise NotImplementedError("to be done")


def half():
    return Half()


def failing():
    raise RuntimeError("no weights on this disk")


def needy(shape, generator, weights):
    return Scaled()


NUMBER = 3
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of one's own, ``own_inn``."""
    (tmp_path / "own_inn.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_inn", raising=False)
    return tmp_path
