"""What the guard sees, and what it does then."""

import copy

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.backpropagation.guard import Counts, Fingerprints, Guard
from harness.backpropagation.rebuilding import guarded, memory_saving, recomputed_fraction
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.gradients.comparison import angle
from harness.gradients.functions import WAYS, Gradient, WayName, autograd
from harness.seeding import generator
from tests.backpropagation.networks import Forgetful, assert_alike, chain, coupling, gradients
from tests.networks import gaussian, perturb
from tests.probing import LOSS


def broken(wrong: float, sample: int = 0) -> tuple[Chain, Tensor, list[torch.nn.Parameter]]:
    """Nine layers, of which the sixth comes back wrong."""
    parts = [coupling(number, 32) for number in range(8)]
    flow = Chain([*parts[:5], Forgetful(wrong, sample), *parts[5:]]).double()
    perturb(flow, 0)
    return flow, gaussian(7, (32,)), list(flow.parameters())


@pytest.mark.parametrize("wrong", [1e-4, 1.0, 1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("sample", [3, -1])
def test_one_wrong_entry_of_one_sample_is_seen(wrong: float, sample: int) -> None:
    flow, x, leaves = broken(wrong, sample)
    watched = guarded(flow, every=4)  # the segments 0-3, 4-7 and 8: only the second is wrong
    expected = gradients(flow, x, leaves)
    assert_alike(gradients(watched, x, leaves), expected, 1e-12)
    assert watched.counts is not None
    assert (watched.recomputed, watched.counts.segments) == (1, 2)
    gradients(watched, x, leaves)
    assert (watched.recomputed, watched.counts.segments) == (2, 4)
    with pytest.raises(AssertionError):
        assert_alike(gradients(memory_saving(flow), x, leaves), expected, 1e-6)


def test_an_error_below_the_tolerance_is_let_pass() -> None:
    flow, x, leaves = broken(1e-4)
    lenient = guarded(flow, every=4, tolerance=1e-2)
    assert_alike(gradients(lenient, x, leaves), gradients(flow, x, leaves), 1e-2)
    assert lenient.recomputed == 0


def glow(size: float) -> tuple[Bijection, dict[WayName, float]]:
    """A perturbed Glow in float32; the angles of its gradients to autograd's in float64."""
    choice = registry.resolve("architecture", {"name": "glow", "steps": 8})
    flow: Bijection = registry.build("architecture", choice, (1, 8, 8), generator(0, "glow"))
    perturb(flow, 0, size)
    x = gaussian(32, (1, 8, 8), scale=0.3)
    reference = flat(autograd(copy.deepcopy(flow).double(), LOSS, x))
    found = {name: flat(way.of_batch(flow, LOSS, x.float())) for name, way in WAYS.items()}
    angles = {name: float(angle(one, reference).rad2deg()) for name, one in found.items()}
    return flow, angles


def flat(gradient: Gradient) -> Tensor:
    return torch.cat([one.flatten() for one in gradient.values()]).double()[None]


def test_a_network_whose_inverse_has_exploded() -> None:
    flow, degrees = glow(0.2)
    assert not degrees["memory_saving"] < 10
    assert degrees["guarded"] < 2 * degrees["autograd"] < 0.1
    assert recomputed_fraction(flow, gaussian(32, (1, 8, 8), scale=0.3).float()) > 0.5


def test_a_good_inverse_is_trusted() -> None:
    flow, degrees = glow(0.05)
    assert max(degrees.values()) < 1e-4
    assert recomputed_fraction(flow, gaussian(32, (1, 8, 8), scale=0.3).float()) == 0


def agrees(before: Tensor, after: Tensor) -> bool:
    guard = Guard(2, None, Fingerprints(), Counts())
    for number in (0, 1):
        guard.note(number, before)
    return guard.agrees(1, after)


def test_each_sample_is_held_to_its_own_size() -> None:
    x = gaussian(5, (32,))
    x[0] *= 1e8
    assert agrees(x, x * (1 + 1e-13))
    moved = x.clone()
    moved[3, 2] += 1e-6
    assert not agrees(x, moved)


@pytest.mark.parametrize("lost", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_agrees_with_nothing(lost: float) -> None:
    x = gaussian(5, (32,))
    there = x.clone()
    there[2, 7] = lost
    assert not agrees(there, x)
    assert not agrees(x, there)
    assert not agrees(there, there)


@pytest.mark.parametrize("every", [1, 2, 3, 9, 50])
def test_checkpoints_may_be_anywhere(every: int) -> None:
    flow, x, leaves = broken(1.0)
    watched = guarded(flow, every=every)
    assert_alike(gradients(watched, x, leaves), gradients(flow, x, leaves), 1e-12)
    # With every layer kept, or the sixth one's input, its inverse is not asked.
    assert watched.recomputed == (every not in (1, 5))


def test_what_is_not_finite_on_the_way_there_is_no_worse_than_with_autograd() -> None:
    flow, x, leaves = broken(0.0)
    x[2, 3] = torch.nan
    found, expected = gradients(guarded(flow), x, leaves), gradients(flow, x, leaves)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


def test_the_fraction_of_segments() -> None:
    flow, x, _ = broken(1.0)
    assert recomputed_fraction(flow, x) == 1 / 1  # eight layers, and one
    assert recomputed_fraction(chain(), x[:, :6]) == 0
    assert recomputed_fraction(coupling(0).double(), x[:, :6]) == 0


def test_fingerprints_are_seeded_and_tell_samples_apart() -> None:
    x = gaussian(5, (3, 4, 4))
    one, other = Fingerprints(), Fingerprints()
    assert torch.equal(one.of(x), other.of(x))
    assert one.of(x).shape == (5, 4)
    moved = x.clone()
    moved[2, 1, 3, 0] += 0.5
    off = (one.of(moved) - one.of(x)).abs()
    assert torch.allclose(off[2], torch.full((4,), 0.5, dtype=torch.float64))
    assert off[[0, 1, 3, 4]].max() == 0
    assert one.of(x.bfloat16()).dtype == torch.float32
    assert torch.equal(one.of(x[:, 0, 0]), x[:, 0, 0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"every": 0}, "at least 1"), ({"tolerance": -1.0}, "0"), ({"tolerance": float("nan")}, "0")],
)
def test_bad_settings(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        guarded(chain(1), **settings)  # type: ignore[arg-type]
