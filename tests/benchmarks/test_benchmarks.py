"""What the benchmark reports is what it measured; the measuring itself is `make bench`."""

import io
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from benchmarks import probes, results
from benchmarks.inverse import compare as inverse
from benchmarks.inverse import solver
from benchmarks.rounds import order, rounds
from benchmarks.row import Row
from benchmarks.sweep import compare as sweep
from benchmarks.sweep.contenders import INNBENCH, SUITE_FILE
from benchmarks.table import table
from benchmarks.training import by_hand, peers
from benchmarks.training import compare as training
from benchmarks.training.compare import check
from benchmarks.training.contender import PlainLoop, Size
from benchmarks.training.pack import Pack, checkerboard
from harness.record import CellRecord
from harness.suite.load import load
from tests.results.records import record


def row(*values: float, target: float | None = 8.0, better: str = "higher") -> Row:
    return Row(
        group="training",
        subject="pack of 16",
        contender="plain torch by hand",
        setting="2×32, batch 128",
        members=16,
        unit="×",
        values=values,
        target=target,
        better="lower" if better == "lower" else "higher",
    )


@pytest.mark.parametrize(
    ("measured", "met"),
    [
        (row(7.0, 8.0, 30.0), True),
        (row(7.0, 7.9, 30.0), False),  # the mean would meet it
        (row(4.0, 5.0, 6.0, target=5.0, better="lower"), True),
        (row(4.0, 5.1, 6.0, target=5.0, better="lower"), False),
        (row(0.1, target=None), None),
    ],
)
def test_the_median_is_held_against_the_target(measured: Row, met: bool | None) -> None:
    assert measured.met is met


def test_a_missed_target_is_seen() -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(table([row(7.0, 7.5, 9.0), row(9.0), row(1.0, target=None)]))
    _, missed, met, none = (line.rstrip() for line in console.export_text().splitlines())
    assert missed.endswith("7.50 ×  7.00–9.00     ≥ 8  NO")
    assert met.endswith("≥ 8  yes")
    assert "≥" not in none


def test_every_contender_has_every_place_in_turn() -> None:
    for count in (2, 5, 9):
        orders = [order(count, number) for number in range(count)]
        assert all(sorted(one) == list(range(count)) for one in orders)
        assert all(sorted(place) == list(range(count)) for place in zip(*orders, strict=True))


def test_a_round_that_warms_does_not_count() -> None:
    called: list[str] = []
    times = rounds("test", {name: lambda n=name: called.append(n) for name in "abc"}, 2)  # type: ignore[misc]
    assert [sorted(taken) for taken in times] == [["a", "b", "c"]] * 2
    assert sorted(called) == sorted("abc" * 3)


def test_parquet_holds_every_round_and_the_machine(tmp_path: Path) -> None:
    results.write([row(7.0, 9.0, 8.5), row(1.0, target=None)], tmp_path / "new" / "bench.parquet")
    first, second = pq.read_table(tmp_path / "new" / "bench.parquet").to_pylist()
    assert first["values"] == [7.0, 9.0, 8.5]
    assert (first["lowest"], first["median"], first["highest"]) == (7.0, 8.5, 9.0)
    assert first["met"] is True
    assert second["met"] is second["target"] is None
    assert all(first[name] for name in ("processor", "cores", "torch", "date", "threads"))


def test_every_column_is_documented() -> None:
    assert results.__doc__
    for name in results.SCHEMA.names:
        assert name in results.__doc__


def test_the_sweep_is_64_cells_of_4_architectures() -> None:
    cells = load(SUITE_FILE).cells
    assert len(cells) == 64
    assert len({cell.architecture.model_dump_json() for cell in cells}) == 4
    assert len({cell.seed for cell in cells}) == 16


def test_twice_as_fast_is_a_ratio_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(width=32, batch=128, steps=1)
    data = checkerboard().read()
    hand = PlainLoop(by_hand.network(size.width), data.train, size.batch)
    pack = Pack(16, size, checkerboard(), data.train)
    rates = {hand.name: [100.0, 200.0], pack.name: [800.0, 1200.0]}
    ours = training._row(pack, hand, size, rates)
    assert (ours.values, ours.target, ours.met) == ((8.0, 6.0), 8.0, False)
    assert (ours.rate, ours.contender_rate) == (1000.0, 150.0)

    monkeypatch.setattr(sweep, "timed", lambda one, _: 2.0 if one is INNBENCH else 12.0)
    rows = sweep.rows(1)
    assert [set(one.values) for one in rows] == [{6.0}] * len(rows)
    assert [(one.target, one.met) for one in rows if one.target] == [(6.0, True), (10.0, False)]


def test_throughput_counts_every_member(monkeypatch: pytest.MonkeyPatch) -> None:
    def a_second_each(_: str, works: dict[str, object], count: int) -> list[dict[str, float]]:
        return [dict.fromkeys(works, 1.0)] * count

    monkeypatch.setattr(training, "rounds", a_second_each)
    monkeypatch.setattr(training, "check", lambda *_: None)
    monkeypatch.setattr(peers, "networks", lambda _: [])
    rows = training.compare(Size(width=32, batch=128, steps=5), 1)
    assert {row.members: row.values for row in rows} == {n: (float(n),) for n in (1, 4, 16, 64)}
    assert {row.members: row.target for row in rows if row.contender == by_hand.NAME} == {
        1: 1.0,
        4: 1.0,
        16: 8.0,
        64: 12.0,
    }


def test_what_is_checked_of_a_pack_is_what_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    together = inverse._together

    def last_is_off(pack: Pack) -> inverse.Invert:
        invert = together(pack)

        def inverted(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x, log_det = invert(latents)
            return torch.cat([x[:-1], x[-1:] + 1]), log_det

        return inverted

    monkeypatch.setattr(inverse, "networks", lambda _: [])
    monkeypatch.setattr(inverse, "rounds", lambda *_: [])
    monkeypatch.setattr(inverse, "MEMBERS", (3,))
    monkeypatch.setattr(inverse, "TRAINED", 1)
    size = Size(width=32, batch=128, steps=1)
    assert inverse.compare(size, 1) == []
    monkeypatch.setattr(inverse, "_together", last_is_off)
    with pytest.raises(AssertionError, match="pack of 3: what comes back is off by"):
        inverse.compare(size, 1)


def test_fewer_evaluations_are_counted_to_the_same_residual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(solver, "TRAINED", {"eight_gaussians": 100})
    rows = {row.setting.split()[0]: row for row in solver.rows(1)}
    assert rows.keys() == {"trained", "symmetric", "Gaussian", "orthogonal"}
    assert rows["trained"].median > 1
    assert [row.target for row in rows.values()] == [2.0, None, None, None]
    assert rows["symmetric"].median > 3  # docs/decisions/residual-blocks.md: 105 and 31
    assert 1 <= rows["orthogonal"].median < 1.5
    monkeypatch.setattr(solver, "TRAINED", {})
    monkeypatch.setattr(solver, "MAXIMUM", 20)
    with pytest.raises(AssertionError, match="did not converge"):
        solver.rows(1)


def test_the_worst_cell_is_no_average(monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(
        architecture: str, dataset: str, seed: int, training: float, probing: float
    ) -> CellRecord:
        base = record(architecture, dataset=dataset, seed=seed)
        return replace(base, train_seconds=training, probe_seconds=probing)

    def cells(held_up: float) -> list[CellRecord]:
        return [
            cell("b", "x", 0, 3.0, 1.0 * held_up),
            cell("b", "x", 1, 1.0, 3.0 / held_up),
            cell("a", "y", 0, 2.0, 8.0),
        ]

    given = iter([[], cells(1.0), cells(30.0), cells(1.0)])
    monkeypatch.setattr(probes, "measured", lambda _: next(given))
    rows = probes.rows(3)
    assert [(row.contender, row.setting, row.values) for row in rows] == [
        (probes.ALL, "quickstart", (0.5, pytest.approx(6 / 38.1), 0.5)),
        (probes.WORST, "quickstart", (0.25, 0.25, 0.25)),
        ("b", "quickstart, x", (1.0, pytest.approx(4 / 30.1), 1.0)),
        ("a", "quickstart, y", (0.25, 0.25, 0.25)),
    ]
    assert [row.met for row in rows] == [False, False, True, False]


def test_what_is_measured_is_what_a_worker_stores() -> None:
    cells = [
        cell.model_copy(
            update={"training": cell.training.model_copy(update={"steps": 1}), "probes": ()}
        )
        for cell in load(probes.SUITE).cells[-2:]
    ]
    assert [one.cell_id for one in probes.measured([cells])] == [cell.id for cell in cells]


def test_who_does_not_train_is_found() -> None:
    size = Size(width=32, batch=128, steps=300)
    data = checkerboard().read()
    hand = PlainLoop(by_hand.network(size.width), data.train, size.batch)
    pack = Pack(2, size, checkerboard(), data.train)
    assert pack.parameters == hand.parameters
    hand.train(size.steps)
    check([hand], data.test, missing=0)
    with pytest.raises(AssertionError, match="pack of 2 ends at"):
        check([hand, pack], data.test, missing=0)
