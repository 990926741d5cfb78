"""The flows of other libraries are the flow that they are compared with."""

import importlib

import pytest
import torch

from benchmarks.training import by_hand
from benchmarks.training.contender import PlainLoop
from benchmarks.training.pack import checkerboard

FEWER = {"zuko": 32, "normflows": 0, "nflows": 0, "FrEIA": 16}
"""Parameters fewer than by hand: those of the ActNorms that a library does not have."""


@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize("library", FEWER)
def test_a_peer_is_the_same_flow_and_trains(library: str) -> None:
    pytest.importorskip(library, reason="the extra `bench` is not installed")
    peer = importlib.import_module(f"benchmarks.training.peers.{library.lower()}")
    torch.manual_seed(0)
    data = checkerboard().read()
    loop = PlainLoop(peer.network(32), data.train, 128)
    hand = PlainLoop(by_hand.network(32), data.train, 128)
    assert hand.parameters - loop.parameters == FEWER[library]
    before = loop.losses(data.test)[0]
    loop.train(200)
    assert loop.losses(data.test)[0] < min(before, 4.48)  # a normal distribution has 4.50


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("library", FEWER)
def test_a_peers_density_integrates_to_one(library: str) -> None:
    pytest.importorskip(library, reason="the extra `bench` is not installed")
    peer = importlib.import_module(f"benchmarks.training.peers.{library.lower()}")
    torch.manual_seed(0)
    data = checkerboard().read()
    network = peer.network(32)
    PlainLoop(network, data.train, 128).train(50)
    axis = torch.linspace(-10, 10, 41)
    step = float(axis[1] - axis[0])
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        densities = torch.stack([-network.loss(point[None]) for point in points]).exp()
    assert float(densities.sum()) * step**2 == pytest.approx(1, abs=0.02)
