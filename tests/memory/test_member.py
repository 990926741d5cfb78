"""What a member of a pack takes, against what PyTorch's own allocator reports."""

from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from harness import registry
from harness.bijections.base import Bijection
from harness.datasets import digits
from harness.datasets.base import Dataset, Splits
from harness.memory.member import SAFETY, member_bytes
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.suite.model import Training
from harness.tasks.density import Density
from harness.training.batches import Batches
from harness.training.loop import Member, train
from tests.training.test_packs import PACKABLE, make_cell

SIZE = 96
DTYPES = "float32", "float64"
CASES = [
    ({"name": "affine", "couplings": 4}, "none", "digits"),
    ({"name": "affine", "couplings": 4}, "finite_difference", "digits"),
    ({"name": "affine", "couplings": 2, "width": 512}, "none", "checkerboard"),
    ({"name": "additive", "couplings": 4}, "none", "checkerboard"),
    ({"name": "glow", "steps": 2}, "none", "digits"),
    ({"name": "glow", "steps": 2}, "finite_difference", "digits"),
    ({"name": "residual", "blocks": 2}, "none", "digits"),
    ({"name": "residual", "blocks": 2}, "none", "checkerboard"),
]


def cell(architecture: Any, regularizer: str, dataset: str, **training: Any) -> Cell:
    return Cell(
        task=registry.resolve("task", "density"),
        architecture=registry.resolve("architecture", architecture),
        regularizer=registry.resolve("regularizer", regularizer),
        dataset=registry.resolve("dataset", dataset),
        probes=(),
        training=Training(**{"steps": 3, "batch_size": SIZE, **training}),
        seed=0,
    )


def allocated(one: Cell, members: int) -> int:
    """The most bytes that the allocator had given out while so many networks were trained."""
    dataset: Dataset = registry.build("dataset", one.dataset)
    raw, task = dataset.read().train, registry.build("task", one.task)

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        pack = [
            Member(
                registry.build("architecture", one.architecture, dataset.shape, generator(n, "m")),
                one.training,
                registry.build("regularizer", one.regularizer),
                n,
            )
            for n in range(members)
        ]
        train(pack, task, Batches(dataset, raw, one.training.batch_size, range(members)))
    now = most = 0
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]['name']}-{case[1]}-{case[2]}")
def test_the_estimate_is_what_the_allocator_gives_out(case: tuple[Any, str, str]) -> None:
    one = cell(*case)
    estimate = member_bytes(one)
    assert estimate is not None
    measured = (allocated(one, 5) - allocated(one, 3)) / 2
    assert 0.95 < estimate / SAFETY / measured < 1.1


def test_samples_that_meet_in_pairs_are_extended_by_a_parabola(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of_pairs(self: Density, flow: Bijection, x: torch.Tensor) -> torch.Tensor:
        z, log_det = flow(x)
        mean: torch.Tensor = ((z[:, None] - z) ** 2).mean() - log_det.mean()
        return mean

    monkeypatch.setattr(Density, "loss", of_pairs)
    one = cell({"name": "additive", "couplings": 7}, "none", "checkerboard", batch_size=512)
    estimate = member_bytes(one)
    assert estimate is not None
    measured = (allocated(one, 5) - allocated(one, 3)) / 2
    assert measured > 512**2 * 4
    assert 0.95 < estimate / SAFETY / measured < 1.1


@pytest.mark.parametrize("names", PACKABLE, ids="-".join)
def test_every_program_is_measured(names: tuple[str, str, str]) -> None:
    small = member_bytes(make_cell(*names, "float32"))
    large = [member_bytes(_of_batch(make_cell(*names, kind), 8192)) for kind in DTYPES]
    assert small is not None
    assert large[0] is not None
    assert large[1] is not None
    assert 0 < 10 * small < large[0]
    # What is drawn on the host is of a fixed type: indices, noise, directions; and a bit-exact
    # coupling computes in float64, whatever it is given.
    least = 1.0 if names[0] == "bit_exact" else 1.2
    assert least < large[1] / large[0] < 2.1


def _of_batch(one: Cell, size: int) -> Cell:
    training = one.training.model_copy(update={"batch_size": size})
    return one.model_copy(update={"training": training})


def test_nothing_is_read_and_nothing_drawn_that_others_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read() -> Splits:
        raise AssertionError("the data was read")

    monkeypatch.setattr(digits, "_read", read)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    # Parameters of no other test, so that it is measured here.
    assert member_bytes(cell({"name": "affine", "couplings": 3}, "log_scale", "digits")) is not None
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)


def test_an_entry_that_fails_has_no_estimate() -> None:
    # The residual block's inverse branches on data, and so does not run as one program.
    assert member_bytes(cell("residual", "finite_difference", "checkerboard")) is None
