"""Probes during training: curves of what they measure, and training that does not notice."""

import gc
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness import probing, registry
from harness.bijections.base import Bijection
from harness.execution import TrainedCell, measure, train_cells
from harness.measuring.networks import Networks
from harness.probing import Visits
from harness.record import CellRecord, LayerMeasurement, Status
from harness.results import ledger
from harness.suite.cell import Cell
from harness.suite.model import Training
from harness.training import compilation
from harness.worker import Conditions, run_pack
from tests.probes import faulty

CPU = torch.device("cpu")
STEPS = 8
SMALL = {"couplings": 2, "width": 8}
DRAWS = {"name": "i_densenet", "blocks": 1, "growth": 4, "depth": 1, "terms": 3}
"""Its log-det is estimated by noise of its own."""
PROBES = (
    {"name": "bi_lipschitz", "points": 2, "every": 4},
    {"name": "reconstruction", "points": 2},
    {"name": "sampling", "samples": 4, "every": 3},
)
Where = tuple[str, str, str, str, int]


def cells(
    count: int,
    architecture: object = SMALL | {"name": "affine"},
    dataset: str = "checkerboard",
    regularizer: str = "none",
    probes: Sequence[object] = PROBES,
    rates: Sequence[float] = (),
    **training: object,
) -> list[Cell]:
    settings = {"steps": STEPS, "batch_size": 8, "log_every": 1} | training
    return [
        Cell(
            task=registry.resolve("task", "density"),
            architecture=registry.resolve("architecture", architecture),
            regularizer=registry.resolve("regularizer", regularizer),
            dataset=registry.resolve("dataset", dataset),
            probes=tuple(registry.resolve("probe", probe) for probe in probes),
            training=Training.model_validate(
                settings | ({"learning_rate": rates[seed]} if rates else {})
            ),
            seed=seed,
        )
        for seed in range(count)
    ]


def only_at_the_end(asked: Sequence[Cell]) -> list[Cell]:
    return [
        cell.model_copy(
            update={"probes": tuple(p.model_copy(update={"every": None}) for p in cell.probes)}
        )
        for cell in asked
    ]


def weights(flow: Bijection) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in flow.state_dict().items()}


def found(record: CellRecord) -> dict[Where, str]:
    """Values by where they were measured; as text, for NaN is not equal to itself."""
    values = {
        (m.probe, m.metric, m.inputs, m.precision, m.step): f"{m.value!r} {m.status}"
        for m in record.measurements
    }
    assert len(values) == len(record.measurements)  # nothing twice
    return values


def records(pack: Sequence[TrainedCell]) -> list[CellRecord]:
    ended = [one.record.unwrap() for one in measure(pack)]
    return sorted(ended, key=lambda record: record.seed)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "kind",
    [
        {"architecture": SMALL | {"name": "affine", "batch_norm": True}},
        {"architecture": SMALL | {"name": "affine"}, "regularizer": "finite_difference"},
        {"architecture": DRAWS, "dataset": "digits"},
        {"architecture": {"name": "residual", "blocks": 1, "width": 8}, "precision": "float64"},
        {"architecture": {"name": "glow", "steps": 1, "width": 4}, "dataset": "digits"},
    ],
    ids=lambda kind: kind["architecture"]["name"] + kind.get("regularizer", ""),
)
def test_training_does_not_notice(kind: dict[str, object], count: int) -> None:
    asked = cells(count, **kind)  # type: ignore[arg-type]
    seen, unseen = train_cells(asked, CPU), train_cells(only_at_the_end(asked), CPU)
    for ours, theirs in zip(seen, unseen, strict=True):
        assert ours.trained == theirs.trained
        left, right = weights(ours.flow), weights(theirs.flow)
        assert all(torch.equal(left[name], right[name]) for name in right)
        assert not any(module.training for module in ours.flow.modules())
    for one, other in zip(records(seen), records(unseen), strict=True):
        last = {where: value for where, value in found(one).items() if where[-1] == STEPS}
        assert last == found(other)
        assert len(found(one)) > len(last)


@pytest.mark.parametrize("count", [1, 2])
def test_a_traced_step_does_not_notice(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the compiler has it: traced once, and held to the memory that the optimizer writes to."""
    monkeypatch.setattr(compilation, "PAYS_FROM", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, *_, **__: graph)
    asked = cells(count, architecture={"name": "affine", "couplings": 1, "width": 3, "layers": 1})
    seen = train_cells(asked, CPU, compiled=True)
    unseen = train_cells(only_at_the_end(asked), CPU, compiled=True)
    assert '"compiled_programs":1' in seen[0].provenance.replace(" ", "")
    for ours, theirs in zip(seen, unseen, strict=True):
        assert ours.trained == theirs.trained
        left, right = weights(ours.flow), weights(theirs.flow)
        assert all(torch.equal(left[name], right[name]) for name in right)
        assert ours.visited.measurements


@pytest.mark.parametrize("count", [1, 2])
def test_a_curve_begins_at_0_and_each_point_is_what_a_shorter_training_ends_with(
    count: int,
) -> None:
    probes = [{"name": "bi_lipschitz", "points": 2, "every": 2}, PROBES[1]]
    batch_norm = SMALL | {"name": "affine", "batch_norm": True}
    curves = [
        found(one) for one in records(train_cells(cells(count, batch_norm, probes=probes), CPU))
    ]
    for steps in range(0, STEPS + 1, 2):
        short = cells(count, batch_norm, probes=probes, steps=steps)
        for record, curve in zip(records(train_cells(short, CPU)), curves, strict=True):
            measured = found(record)
            ours = {w: v for w, v in curve.items() if w[-1] == steps and w[0] == "bi_lipschitz"}
            assert ours.keys() == {w for w in measured if w[0] == "bi_lipschitz" and w[-1] == steps}
            assert ours == {where: measured[where] for where in ours}
    assert {w[-1] for w in curves[0] if w[0] == "bi_lipschitz"} == {0, 2, 4, 6, 8}
    assert {w[-1] for w in curves[0] if w[0] in ("reconstruction", "task")} == {8}


def test_each_probe_has_its_own_steps_and_the_same_noise_at_each() -> None:
    """Nothing is learned, so every point of a curve is the same number."""
    additive = SMALL | {"name": "additive"}
    (record,) = records(train_cells(cells(1, additive, learning_rate=1e-30), CPU))
    steps: dict[str, set[int]] = {}
    values: dict[tuple[str, ...], set[str]] = {}
    for (probe, *where, step), value in found(record).items():
        steps.setdefault(probe, set()).add(step)
        values.setdefault((probe, *where), set()).add(value)
    assert steps == {
        "task": {8},
        "reconstruction": {8},
        "bi_lipschitz": {0, 4, 8},
        "sampling": {0, 3, 6, 8},
    }
    assert all(len(one) == 1 for one in values.values())


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_member_that_diverged_is_not_visited_again(every: int) -> None:
    probes = [{"name": "reconstruction", "points": 2, "every": every}]
    pack = cells(3, probes=probes, rates=(1e-3, 1e18, 1e-3), gradient_clip=None)
    trained = train_cells(pack, CPU)
    ended = records(trained)
    assert [one.status for one in ended] == [Status.OK, Status.DIVERGED, Status.OK]
    last = ended[1].steps
    assert 0 < last < STEPS
    assert max(found.step for found in trained[1].visited.measurements) <= last
    for one, until in zip(ended, (STEPS, last, STEPS), strict=True):
        steps = {where[-1] for where in found(one) if where[0] == "reconstruction"}
        assert steps == {*range(0, until, every), until}


def test_the_networks_are_seen_in_evaluation_mode_with_the_weights_of_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Watching(Visits):
        def visit(self, step: int, numbers: Sequence[int]) -> bool:
            flows = [self._flows[number] for number in numbers]
            modes.update(module.training for flow in flows for module in flow.modules())
            seen.append([weights(flow) for flow in flows])
            return super().visit(step, numbers)

    from harness import execution  # noqa: PLC0415 - where it is looked up

    monkeypatch.setattr(execution, "Visits", Watching)
    modes: set[bool] = set()
    seen: list[list[dict[str, Tensor]]] = []
    batch_norm = SMALL | {"name": "affine", "batch_norm": True}
    train_cells(cells(2, batch_norm, probes=[PROBES[0]]), CPU)
    assert modes == {False}
    short = train_cells(cells(2, batch_norm, probes=[PROBES[0]], steps=4), CPU)
    for flow, state in zip((one.flow for one in short), seen[1], strict=True):
        expected = weights(flow)
        assert all(torch.equal(expected[name], state[name]) for name in expected)


def test_nothing_is_kept_between_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[object]] = []

    class Counted(Networks):
        def __init__(self, flows: Sequence[Bijection]) -> None:
            assert not any(one() for one in made)
            super().__init__(flows)
            made.append(weakref.ref(self))

        def _at(self, number: int, precision: object) -> Bijection:
            flow = super()._at(number, precision)  # type: ignore[arg-type]
            if flow not in self._flows:
                made.append(weakref.ref(flow))
            return flow

    monkeypatch.setattr(probing, "Networks", Counted)
    asked = cells(3)
    gc.disable()
    try:
        train_cells(asked, CPU)
    finally:
        gc.enable()
    assert len(made) > 3 + 3  # a network in float64 is a copy
    assert not any(one() for one in made)


def run(store: Path, pack: Sequence[Cell]) -> dict[int, Status]:
    faulty.ASKED.clear()
    named = [(cell.id, cell.specification()) for cell in pack]
    outcomes = {one.cell_id: one for one in run_pack(named, "one", str(store), Conditions(), 1)}
    assert not any(one.halved for one in outcomes.values())  # nothing was trained again
    return {cell.seed: outcomes[cell.id].status for cell in pack}


def faults(monkeypatch: pytest.MonkeyPatch, name: str, **parameters: object) -> dict[str, object]:
    monkeypatch.setitem(registry.BUILT_IN["probe"], name, f"tests.probes.faulty:{name}")
    return {"name": name, **parameters}


@pytest.mark.parametrize(
    ("error", "status"),
    [("ArithmeticError", Status.ERROR), ("out of memory", Status.OUT_OF_MEMORY)],
)
def test_a_probe_that_raises_fails_its_cell_alone(
    error: str, status: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = faults(monkeypatch, "fails_at", step=4, error=error, every=2)
    pack = cells(2, probes=[PROBES[1], probe])
    assert run(tmp_path, pack) == {0: status, 1: Status.OK}
    assert faulty.ASKED == [0, 0, 2, 2, 4, 4, 6, 8]  # who failed is asked no more
    (attempt,) = ledger.last_attempts(tmp_path, "one").values()
    assert attempt.cell_id == pack[0].id
    assert "after 4 steps" in attempt.message
    assert "faulty.py" in attempt.traceback
    kept = ledger.read_record(tmp_path, "one", pack[1].id)
    assert kept.curve == train_cells([pack[0], pack[1]], CPU)[1].trained.curve


def test_training_of_no_more_use_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = faults(monkeypatch, "fails_at", step=4, every=2)
    pack = cells(1, probes=[probe], steps=10**8)
    assert run(tmp_path, pack) == {0: Status.ERROR}
    assert faulty.ASKED == [0, 2, 4]


def test_an_error_of_the_harness_fails_who_had_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Networks):
        def forget(self, number: int) -> None:
            if number == 1:
                raise ArithmeticError("of the harness")

    monkeypatch.setattr(probing, "Networks", Broken)
    probes = [{"name": "log_det", "points": 2, "every": STEPS}]
    assert run(tmp_path, cells(3, probes=probes)) == {
        0: Status.OK,
        1: Status.ERROR,
        2: Status.ERROR,
    }


def test_time_of_probes_is_no_time_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: real() + faulty.CLOCK[0])
    probe = faults(monkeypatch, "takes_its_time", every=2)
    pack = cells(2, probes=[probe])
    outcomes = run_pack(
        [(cell.id, cell.specification()) for cell in pack], "one", str(tmp_path), Conditions(), 1
    )
    for cell, outcome in zip(pack, outcomes, strict=True):
        record = ledger.read_record(tmp_path, "one", cell.id)
        assert 0 < record.train_seconds < 100
        assert 500 <= record.probe_seconds < 600  # at 0, 2, 4, 6 and at the end
        assert outcome.seconds == pytest.approx(record.train_seconds + record.probe_seconds)


def test_layers_measured_during_training_are_stored_apart() -> None:
    probes = [{"name": "layer_profile", "points": 2, "every": 4}]
    (record,) = records(train_cells(cells(1, probes=probes), CPU))
    assert {one.step for one in record.layers} == {0, 4, 8}
    assert not any(isinstance(one, LayerMeasurement) for one in record.measurements)
