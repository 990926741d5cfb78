import math
from dataclasses import replace

import pytest

from harness.registry import Choice
from harness.suite import Cell, Done, Training, Why, plan


def choice(name: str, **parameters: object) -> Choice:
    return Choice.model_validate({"name": name, "version": 1, "parameters": parameters})


def cell(seed: int = 0, steps: int = 300, **changed: object) -> Cell:
    fields: dict[str, object] = {
        "task": choice("density"),
        "architecture": choice("affine", couplings=8),
        "regularizer": choice("none"),
        "dataset": choice("digits"),
        "probes": (choice("sampling", samples=10),),
        "training": Training(steps=steps),
        "seed": seed,
    }
    return Cell.model_validate(fields | changed)


def stored(*cells: tuple[Cell, float] | tuple[Cell, float, str]) -> dict[str, Done]:
    return {
        one.id: Done(one.specification(), seconds, *(rest or ("ok",)))
        for one, seconds, *rest in cells
    }


def test_every_reason() -> None:
    cached, diverged, failed, fresh = (cell(seed) for seed in range(4))
    changed, before = cell(9, steps=500), cell(9)
    found = plan(
        [cached, diverged, failed, fresh, changed],
        stored((cached, 1.0), (diverged, 1.0, "diverged"), (before, 1.0)),
        {failed.id: "timeout", cached.id: "error"},
    )
    assert [one.reason for one in found.planned] == [
        "cached",
        "cached (diverged)",
        "failed before (timeout)",
        "new",
        "changed (training.steps 300 → 500)",
    ]
    assert [one.runs for one in found.planned] == [False, False, True, True, True]
    assert found.to_run == (failed, fresh, changed)
    assert found.counts() == {Why.CACHED: 2, Why.NEW: 1, Why.FAILED: 1, Why.CHANGED: 1}


def test_a_stored_cell_that_is_still_asked_for_was_not_changed_into_another() -> None:
    old, new = cell(), cell(training=Training(learning_rate=2e-3))
    assert [one.why for one in plan([old, new], stored((old, 1.0)), {}).planned] == [
        Why.CACHED,
        Why.NEW,
    ]


@pytest.mark.parametrize(
    "other",
    [
        cell(1, steps=9),
        cell(steps=9, architecture=choice("residual")),
        cell(steps=9, regularizer=choice("log_scale")),
        cell(steps=9, dataset=choice("checkerboard")),
    ],
)
def test_only_a_cell_of_the_same_names_and_seed_can_have_changed(other: Cell) -> None:
    (one,) = plan([cell()], stored((other, 1.0)), {}).planned
    assert one.reason == "new"


def test_the_nearest_stored_cell_is_named() -> None:
    near, far = cell(steps=100), cell(steps=100, architecture=choice("affine", couplings=2))
    for order in ((near, far), (far, near)):
        (one,) = plan([cell()], stored(*((c, 1.0) for c in order)), {}).planned
        assert one.detail == "training.steps 100 → 300"


def test_of_two_that_are_as_near_always_the_same_is_named() -> None:
    before = [cell(steps=steps) for steps in range(1, 9)]
    found = {
        plan([cell()], stored(*((one, 1.0) for one in order)), {}).planned[0].reason
        for order in (before, before[::-1])
    }
    assert len(found) == 1


def nested(name: str, **parameters: object) -> dict[str, object]:
    return {"name": name, "version": 1, "parameters": parameters}


def test_changes_are_said_by_field() -> None:
    old = cell(
        architecture=choice("affine", scale=nested("sigmoid", floor=0.1)),
        probes=(
            choice("sampling", samples=10),
            choice("log_det"),
            choice("bi_lipschitz").model_copy(update={"every": 5}),
            choice("reconstruction").model_copy(update={"every": 5}),
        ),
    )
    new = cell(
        architecture=choice("affine", scale=nested("bounded_exp", limit=2.0)),
        probes=(
            choice("sampling", samples=20),
            choice("bi_lipschitz").model_copy(update={"every": 10}),
            choice("reconstruction"),
        ),
    )
    (one,) = plan([new], stored((old, 1.0)), {}).planned
    assert one.detail == (
        "architecture.scale sigmoid → bounded_exp, probes.bi_lipschitz.every 5 → 10, "
        "probes.log_det log_det → (none), 2 more"
    )


def test_versions_are_said_and_long_lists_are_cut() -> None:
    old = cell(training=Training(steps=1, batch_size=2, log_every=3, precision="float64"))
    (one,) = plan([cell()], stored((old, 1.0)), {}).planned
    assert one.detail.startswith("training.batch_size 2 → 128, training.log_every 3 → 10, ")
    assert one.detail.endswith(", 1 more")
    newer = cell(architecture=Choice(name="affine", version=2, parameters={"couplings": 8}))
    (one,) = plan([newer], stored((cell(), 1.0)), {}).planned
    assert one.detail == "architecture.version 1 → 2"
    before = {"x": Done(cell().specification().replace('"identity":1', '"identity":0'), 1.0, "ok")}
    (one,) = plan([cell()], before, {}).planned
    assert one.detail == "identity 0 → 1"


def test_a_spoilt_stored_specification_spoils_no_plan() -> None:
    spoilt = {"x": Done("{", 1.0, "ok"), "y": Done("[1]", 1.0, "ok"), "z": Done("{}", 1.0, "ok")}
    (one,) = plan([cell()], spoilt, {}).planned
    assert one.reason == "new"
    assert one.seconds is None


def test_time_is_the_median_of_the_other_seeds() -> None:
    done = stored((cell(1), 10.0), (cell(2), 20.0), (cell(3), 90.0), (cell(4, steps=3), 0.5))
    (one,) = plan([cell()], done, {}).planned
    assert one.seconds == 20.0


def test_else_it_is_scaled_by_steps_from_cells_of_the_same_names() -> None:
    like = cell(5, steps=100, regularizer=choice("log_scale"))
    unlike = cell(6, steps=100, dataset=choice("checkerboard"))
    found = plan([cell(), cell(1, steps=0)], stored((like, 10.0), (unlike, 99.0)), {})
    assert [one.seconds for one in found.planned] == [pytest.approx(30.0), pytest.approx(0.1)]


def test_else_it_is_not_known() -> None:
    other = cell(steps=100, dataset=choice("checkerboard"))
    found = plan([cell()], stored((other, 99.0)), {})
    assert found.planned[0].seconds is None
    assert found.expected(1) == (0.0, 1)


def test_cells_that_ended_early_say_nothing_of_the_time() -> None:
    done = stored((cell(1), 1.0, "diverged"), (cell(2), 50.0), (cell(3), math.nan))
    assert plan([cell()], done, {}).planned[0].seconds == 50.0


def test_a_cached_cell_takes_no_time() -> None:
    found = plan([cell()], stored((cell(), 50.0)), {})
    assert found.planned[0].seconds == 0.0
    assert found.expected(3) == (0.0, 0)


def test_the_total_is_that_of_the_slots() -> None:
    done = stored(*((cell(100, steps=steps), float(steps)) for steps in (5, 3, 2)))
    cells = [cell(0, steps=5), cell(1, steps=3), cell(2, steps=2), cell(3, steps=3)]
    found = plan(cells, done, {}, "off")
    assert found.expected(1).seconds == 13.0
    assert found.expected(2).seconds == 7.0  # those of the same program come in turn: 5 + 2, 3 + 3
    assert found.expected(100).seconds == 5.0
    unknown = replace(found.planned[0], cell=cell(4, steps=5), seconds=None)
    assert replace(found, planned=(*found.planned, unknown)).expected(1) == (13.0, 1)
    with pytest.raises(ValueError, match="one slot"):
        found.expected(0)


def test_the_time_of_a_pack_is_that_of_all_its_cells() -> None:
    done = stored((cell(100), 5.0))
    found = plan([cell(seed) for seed in range(5)], done, {}, 4)
    assert found.expected(1).seconds == 25.0
    assert found.expected(2).seconds == 15.0  # packs of two and of three
    assert found.expected(9).seconds == 15.0


def test_packs_are_cut_where_memory_has_no_room_for_them() -> None:
    small, large, alone = (
        [cell(seed, steps=steps) for seed in range(count)]
        for steps, count in ((1, 6), (2, 6), (3, 1))
    )
    asked = []

    def largest(one: Cell) -> int | None:
        asked.append(one)
        return {1: None, 2: 2}[one.training.steps]

    found = plan([*small, *large, *alone], {}, {}, 4)
    assert [len(pack) for pack in found.packs(1)] == [3, 3, 3, 3, 1]
    together = found.trained_together(1, largest)
    assert [len(part) for part in together] == [3, 3, 2, 1, 2, 1, 1]
    assert [one for part in together for one in part] == [*small, *large, *alone]
    assert alone[0] not in asked
