"""Which cells are trained together."""

import pytest

from harness import registry
from harness.suite.cell import Cell
from harness.suite.model import Training
from harness.suite.packs import PackSize, packs


def cell(
    seed: int = 0,
    *,
    architecture: str = "additive",
    regularizer: object = "none",
    **training: object,
) -> Cell:
    return Cell(
        task=registry.resolve("task", "density"),
        architecture=registry.resolve("architecture", architecture),
        regularizer=registry.resolve("regularizer", regularizer),
        dataset=registry.resolve("dataset", "checkerboard"),
        probes=(),
        training=Training(**training),  # type: ignore[arg-type]
        seed=seed,
    )


def penalised(weight: float, **parameters: float) -> dict[str, object]:
    return {"name": "finite_difference", "weight": weight, **parameters}


def test_seeds_and_numbers_share_a_pack() -> None:
    together = [
        cell(0),
        cell(1),
        cell(0, learning_rate=1e-2),
        cell(0, weight_decay=0.1),
        cell(0, gradient_clip=None),
    ]
    assert packs(together, 64, 1) == (tuple(together),)
    weights = [cell(regularizer=penalised(weight)) for weight in (0.1, 0.2)]
    assert packs(weights, 64, 1) == (tuple(weights),)


@pytest.mark.parametrize(
    "other",
    [
        cell(architecture="affine"),
        cell(steps=7),
        cell(batch_size=7),
        cell(log_every=7),
        cell(schedule="cosine"),
        cell(precision="float64"),
        cell(regularizer=penalised(0.1)),
        cell().model_copy(update={"dataset": registry.resolve("dataset", "eight_gaussians")}),
        cell().model_copy(update={"probes": (registry.resolve("probe", "sampling"),)}),
    ],
    ids=lambda other: other.id,
)
def test_what_changes_the_program_does_not(other: Cell) -> None:
    assert packs([cell(), other], 64, 1) == ((cell(),), (other,))


def test_no_penalty_at_weight_zero_is_another_program() -> None:
    cells = [cell(regularizer=penalised(weight)) for weight in (0.0, 0.1)]
    assert len(packs(cells, 64, 1)) == 2
    steps = [cell(regularizer=penalised(0.1, step=step)) for step in (0.1, 0.2)]
    assert len(packs(steps, 64, 1)) == 2


def test_an_iterative_inverse_in_training_runs_alone() -> None:
    inverting = [cell(n, architecture="residual", regularizer=penalised(0.1)) for n in range(2)]
    assert packs(inverting, 64, 1) == ((inverting[0],), (inverting[1],))
    plain = [cell(n, architecture="residual") for n in range(2)]
    assert packs(plain, 64, 1) == (tuple(plain),)


@pytest.mark.parametrize(
    ("size", "slots", "sizes"),
    [
        ("auto", 1, [50, 50]),
        ("auto", 2, [50, 50]),
        ("auto", 4, [25, 25, 25, 25]),
        ("auto", 1000, [1] * 100),
        (30, 1, [25, 25, 25, 25]),
        (99, 1, [50, 50]),
        (1, 1, [1] * 100),
        ("off", 1, [1] * 100),
    ],
)
def test_sizes_are_even_and_leave_no_slot_without_work(
    size: PackSize, slots: int, sizes: list[int]
) -> None:
    cells = [cell(seed) for seed in range(100)]
    found = packs(cells, size, slots)
    assert [len(pack) for pack in found] == sizes
    assert [one for pack in found for one in pack] == cells


def test_nothing_makes_no_pack() -> None:
    assert packs([], "auto", 2) == ()
