"""The flows of other libraries are the flow that they are compared with."""

import importlib
from typing import Literal

import pytest
import torch

from benchmarks.inverse import compare as inverse
from benchmarks.training import by_hand
from benchmarks.training.compare import networks
from benchmarks.training.contender import PlainLoop, Size
from benchmarks.training.pack import Pack, checkerboard

FEWER = {"zuko": 32, "normflows": 0, "nflows": 0, "FrEIA": 16}
"""Parameters fewer than by hand: those of the ActNorms that a library does not have."""


@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize("library", FEWER)
def test_a_peer_is_the_same_flow_and_trains(library: str) -> None:
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


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("flow", ["affine", "spline"])
def test_every_inverse_is_that_of_its_own_flow_and_a_wrong_one_is_found(
    flow: Literal["affine", "spline"],
) -> None:
    size = Size(32, 16, steps=1, flow=flow)
    rows = inverse.compare(size, 1)
    assert {row.members for row in rows} == {1, 16}
    named = {row.contender.split()[0] for row in rows}
    assert named == ({"plain", *FEWER} if flow == "affine" else set(FEWER) - {"FrEIA"})
    latents = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    (one, *_) = networks(size)
    with pytest.raises(AssertionError, match="what comes back is off by"):
        inverse.check(one.name, one.latents, one.latents, 3 * latents)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("library", [name for name in FEWER if name != "FrEIA"])
def test_a_peers_splines_are_the_same_flow_and_train(library: str) -> None:
    peer = importlib.import_module(f"benchmarks.training.peers.{library.lower()}")
    torch.manual_seed(0)
    dataset = checkerboard()
    data = dataset.read()
    size = Size(32, 128, steps=60, flow="spline")
    ours = Pack(1, size, dataset, data.train)
    loop = PlainLoop(peer.network(32, "spline"), data.train, 128)
    assert ours.parameters - loop.parameters == FEWER[library]
    before = loop.losses(data.test)[0]
    loop.train(size.steps)
    assert loop.losses(data.test)[0] < min(before, 4.48)
