"""A pack against the same cells one by one, over everything that can be packed."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.datasets.base import Dataset
from harness.execution import measure, train_cells
from harness.record import Status
from harness.registry import Choice, Combination
from harness.seeding import generator
from harness.suite.cell import Cell
from harness.suite.model import Training
from harness.suite.packs import branching
from harness.training.batches import Batches
from harness.training.loop import Member, Trained, train
from tests.cells import run_alone

SEEDS = range(5)
STEPS = 20
SMALL: dict[str, dict[str, object]] = {
    "additive": {"couplings": 4, "width": 8},
    "affine": {"couplings": 4, "width": 8},
    "ffjord": {"steps": 2, "width": 4, "solver": "euler", "log_det": "hutchinson"},
    "ffjord_adaptive": {"width": 4, "layers": 1, "tolerance": 1e-2},
    "bilipnet": {"blocks": 1, "width": 8},
    "bit_exact": {"couplings": 2, "width": 8},
    "flow_plus_plus": {"couplings": 1, "width": 8, "components": 3},
    "free_form": {"width": 4, "layers": 1},
    "glow": {"steps": 1, "width": 8},
    "iaf": {"blocks": 1, "width": 8},
    "maf": {"blocks": 1, "width": 8, "order": "random"},
    "momentum_residual": {"steps": 2, "width": 8},
    "neural_spline_flow": {"couplings": 1, "width": 8, "bins": 3},
    "residual": {"blocks": 2, "width": 8},
    "reversible_ode": {"blocks": 1, "width": 4, "steps": 1, "solver": "euler"},
    "tarflow": {"blocks": 1, "width": 8},
    "i_densenet": {"blocks": 1, "growth": 4, "depth": 1, "terms": 3},
    "residual_flow": {"blocks": 1, "width": 4},
    "residual_image": {"blocks": 1, "width": 4, "terms": 3},
    "reversible_transformer": {"blocks": 1, "width": 4},
    "revnet": {"levels": 1, "blocks": 1, "width": 4},
}
"""Parameters that make an architecture small; another plug-in's are its defaults."""
DATASETS = registry.names("dataset")
WITH_ALL = {("affine", "checkerboard"), ("glow", "digits")}
"""What is trained with every regularizer."""


def choice(axis: str, name: str) -> Choice:
    parameters = SMALL.get(name, {}) if axis == "architecture" else {}
    return registry.resolve(axis, {"name": name, **parameters})


def make_cell(architecture: str, regularizer: str, dataset: str, precision: str) -> Cell:
    return Cell(
        task=choice("task", "density"),
        architecture=choice("architecture", architecture),
        regularizer=choice("regularizer", regularizer),
        dataset=choice("dataset", dataset),
        probes=(),
        training=Training(steps=STEPS, batch_size=16, precision=precision),  # type: ignore[arg-type]
        seed=0,
    )


def possible(cell: Cell) -> bool:
    shape = registry.build("dataset", cell.dataset).shape
    combination = Combination(cell.task, cell.architecture, cell.regularizer, cell.dataset, shape)
    entries = (("architecture", cell.architecture), ("regularizer", cell.regularizer))
    refusals = [registry.get(axis, chosen.name).refuses for axis, chosen in entries]
    return not any(refuses is not None and refuses(combination) for refuses in refusals)


def kinds() -> list[str]:
    """Datasets, one of each kind: a step sees of its data the shape and whether it has levels."""
    built = {name: registry.build("dataset", choice("dataset", name)) for name in DATASETS}
    return list({(one.shape, one.levels is None): name for name, one in built.items()}.values())


def combinations() -> list[tuple[str, str, str]]:
    axes = (registry.names("architecture"), registry.names("regularizer"), kinds())
    return [
        (a, r, d)
        for a, r, d in product(*axes)
        # Each architecture without a penalty and with one that runs both ways, each penalty once.
        if (r in ("none", "finite_difference", "reconstruction") or (a, d) in WITH_ALL)
        and possible(make_cell(a, r, d, "float32"))
    ]


COMBINATIONS = combinations()
PACKABLE = [names for names in COMBINATIONS if not branching(make_cell(*names, "float32"))]


def members(cell: Cell) -> list[Member]:
    shape = registry.build("dataset", cell.dataset).shape
    return [
        Member(
            registry.build("architecture", cell.architecture, shape, generator(seed, "init")),
            cell.training,
            registry.build("regularizer", cell.regularizer),
            seed,
        )
        for seed in SEEDS
    ]


def run(cell: Cell, *packs: list[Member]) -> list[Trained]:
    dataset: Dataset = registry.build("dataset", cell.dataset)
    raw, task = dataset.read().train, registry.build("task", cell.task)
    ended = []
    for pack in packs:
        seeds = [member.seed for member in pack]
        ended += train(pack, task, Batches(dataset, raw, cell.training.batch_size, seeds))
    return ended


def weights(pack: list[Member]) -> list[Tensor]:
    return [
        torch.cat([p.detach().double().flatten() for p in member.flow.parameters()])
        for member in pack
    ]


def logged(trained: Trained) -> list[float]:
    return [point.value for point in trained.curve]


def test_only_what_iterates_or_draws_a_length_in_training_is_not_packed() -> None:
    """An inverse by iteration, where it is used; a roulette or a solver that decides the work."""
    alone = {names[:2] for names in COMBINATIONS if names not in PACKABLE}
    iterates = {"bilipnet", "residual", "residual_image", "residual_flow", "i_densenet"}
    expected = {(architecture, "finite_difference") for architecture in iterates}
    adaptive = {("ffjord_adaptive", name) for name in ("none", "finite_difference")}
    assert alone == expected | adaptive | {("residual_flow", "none")}


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)], ids=["float32", "float64"]
)
@pytest.mark.parametrize("names", PACKABLE, ids="-".join)
def test_a_pack_trains_what_its_members_would_alone(
    names: tuple[str, str, str], precision: str, tolerance: float
) -> None:
    cell = make_cell(*names, precision)
    packed, alone = members(cell)[:3], members(cell)[:3]
    together = run(cell, packed)
    apart = run(cell, *([member] for member in alone))
    for ours, theirs in zip(weights(packed), weights(alone), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    for one, other in zip(together, apart, strict=True):
        assert (one.status, one.steps) == (other.status, other.steps) == (Status.OK, STEPS)
        assert logged(one) == pytest.approx(logged(other), rel=tolerance, abs=tolerance)
    first, second, *_ = weights(packed)
    assert float((first - second).abs().max()) > 0.01  # each has its own weights


def _spoil(flow: Bijection) -> None:
    with torch.no_grad():
        for parameter in flow.parameters():  # of some blocks the data sets them anew
            parameter.fill_(torch.inf)


@pytest.mark.parametrize("names", PACKABLE, ids="-".join)
def test_a_member_that_diverges_moves_no_other_by_a_bit(names: tuple[str, str, str]) -> None:
    cell = make_cell(*names, "float32")
    sound, spoilt = members(cell), members(cell)
    _spoil(spoilt[2].flow)
    run(cell, sound)
    ended = run(cell, spoilt)
    statuses = [one.status for one in ended]
    assert statuses == [Status.OK, Status.OK, Status.DIVERGED, Status.OK, Status.OK]
    assert ended[2].steps == 0
    for number, (ours, theirs) in enumerate(zip(weights(spoilt), weights(sound), strict=True)):
        assert torch.equal(ours, theirs) == (number != 2)


def test_a_member_that_diverges_late_keeps_its_weights_of_then() -> None:
    cell = make_cell("affine", "none", "checkerboard", "float32")
    wild = [
        replace(member, settings=cell.training.model_copy(update={"learning_rate": rate}))
        for member, rate in zip(members(cell), (1e-3, 1e18, 1e-3, 1e-3, 1e-3), strict=True)
    ]
    alone = members(cell)
    alone[1] = replace(alone[1], settings=wild[1].settings)
    tame = members(cell)
    run(cell, tame)
    packed = run(cell, wild)
    single = run(cell, *([member] for member in alone))
    assert packed[1].status is single[1].status is Status.DIVERGED
    assert 0 < packed[1].steps == single[1].steps < STEPS
    assert packed[1].curve[-1].step == packed[1].steps
    assert [one.steps for one in packed] == [one.steps for one in single]
    torch.testing.assert_close(weights(wild)[1], weights(alone)[1], rtol=1e-3, atol=1e-3)
    for number, (ours, theirs) in enumerate(zip(weights(wild), weights(tame), strict=True)):
        assert torch.equal(ours, theirs) == (number != 1)


def test_a_last_step_into_the_void_is_a_divergence() -> None:
    cell = make_cell("affine", "none", "checkerboard", "float32")
    settings = cell.training.model_copy(update={"steps": 1})
    pack = [replace(member, settings=settings) for member in members(cell)]
    wild = settings.model_copy(update={"learning_rate": 1e30, "weight_decay": 1e30})
    pack[3] = replace(pack[3], settings=wild)
    ended = run(cell, pack)
    assert [one.status is Status.DIVERGED for one in ended] == [False] * 3 + [True, False]
    assert [one.steps for one in ended] == [1] * 5


def test_members_may_differ_in_rate_decay_clip_and_weight() -> None:
    cell = make_cell("affine", "finite_difference", "eight_gaussians", "float64")
    settings: list[dict[str, float | None]] = [
        {"learning_rate": 1e-3},
        {"learning_rate": 1e-2},
        {"weight_decay": 0.5},
        {"gradient_clip": 1e-3},
        {"gradient_clip": None},
    ]
    regularizers = [
        registry.build("regularizer", choice_of_weight)
        for choice_of_weight in (
            registry.resolve("regularizer", {"name": "finite_difference", "weight": weight})
            for weight in (1e-3, 1e-2, 1e-1, 1.0, 10.0)
        )
    ]

    def various() -> list[Member]:
        return [
            replace(
                member,
                seed=0,
                settings=cell.training.model_copy(update=one),
                regularizer=regularizer,
            )
            for member, one, regularizer in zip(members(cell), settings, regularizers, strict=True)
        ]

    packed, alone = various(), various()
    together = run(cell, packed)
    apart = run(cell, *([member] for member in alone))
    for ours, theirs in zip(weights(packed), weights(alone), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for one, other in zip(together, apart, strict=True):
        assert logged(one) == pytest.approx(logged(other), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("names", PACKABLE, ids="-".join)
def test_a_pack_measures_what_its_members_would_alone(names: tuple[str, str, str]) -> None:
    cell = make_cell(*names, "float64")
    probes = tuple(
        registry.resolve("probe", {"name": name, size: 4})
        for name, size in (("bi_lipschitz", "points"), ("sampling", "samples"))
    )
    cells = [cell.model_copy(update={"seed": seed, "probes": probes}) for seed in (0, 1)]
    ended = [one.record.unwrap() for one in measure(train_cells(cells, torch.device("cpu")))]
    together = sorted(ended, key=lambda record: record.seed)
    for ours, theirs in zip(together, map(run_alone, cells), strict=True):
        assert ours.cell_id == theirs.cell_id
        assert len(ours.measurements) == len(theirs.measurements) > 50
        for one, other in zip(ours.measurements, theirs.measurements, strict=True):
            assert replace(one, value=0.0) == replace(other, value=0.0)
            # Probes round the weights to float32 first; what is rounding itself is not compared.
            tolerance = {"task": 1e-9, "bi_lipschitz": 1e-5}.get(one.probe)
            if tolerance and "inverse" not in one.metric and "condition" not in one.metric:
                assert one.value == pytest.approx(other.value, rel=tolerance, nan_ok=True)
    first, second = (one.measurements[0].value for one in together)
    assert first != second


def test_parameters_that_are_not_to_be_trained_stay() -> None:
    for count in (1, 3):
        cell = make_cell("affine", "none", "checkerboard", "float32")
        pack = members(cell)[:count]
        for member in pack:
            list(member.flow.parameters())[2].requires_grad = False
        before = [[p.detach().clone() for p in member.flow.parameters()] for member in pack]
        run(cell, pack)
        for member, old in zip(pack, before, strict=True):
            moved = [
                not torch.equal(p, q) for p, q in zip(member.flow.parameters(), old, strict=True)
            ]
            assert moved == [number != 2 for number in range(len(moved))]
