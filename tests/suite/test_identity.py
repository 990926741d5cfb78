import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.registry import Choice, UnresolvedError, get, resolve
from harness.suite import IDENTITY_VERSION, Cell, Training
from harness.suite.model import USUAL_PROBES
from tests.suite.suite_text import SMALL, loaded


def choice(name: str, version: int = 1, **parameters: object) -> Choice:
    return Choice.model_validate({"name": name, "version": version, "parameters": parameters})


EXP = {"name": "exp", "version": 1, "parameters": {}}
BOUNDED = {"name": "bounded_exp", "version": 1, "parameters": {"limit": 2.0}}


def cell(**changed: object) -> Cell:
    """A cell whose entries are spelled out, so that no entry's change moves its id."""
    fields: dict[str, object] = {
        "task": choice("density"),
        "architecture": choice("affine", couplings=8, scale=EXP),
        "regularizer": choice("none"),
        "dataset": choice("checkerboard", size=20_000),
        "probes": (choice("reconstruction", points=256), choice("sampling", samples=256)),
        "training": Training(),
        "seed": 0,
    }
    return Cell.model_validate(fields | changed)


GOLDEN = {
    "plain": (cell(), "affine-exp_none_checkerboard_s0-62d63c7434a5"),
    "seed": (cell(seed=7), "affine-exp_none_checkerboard_s7-f1918fca8f53"),
    "scale": (
        cell(architecture=choice("affine", couplings=8, scale=BOUNDED)),
        "affine-bounded_exp_none_checkerboard_s0-0fb0d80dd3bc",
    ),
    "regularizer": (
        cell(regularizer=choice("finite_difference", weight=1e-4)),
        "affine-exp_finite_difference_checkerboard_s0-bdd1cebec42c",
    ),
    "training": (
        cell(training=Training(steps=500, gradient_clip=None)),
        "affine-exp_none_checkerboard_s0-5fb5e9bdf9a0",
    ),
    "nothing": (
        cell(architecture=choice("affine", mixing=EXP | {"name": "none"}, scale=EXP)),
        "affine-exp_none_checkerboard_s0-fff9d912d772",
    ),
    "what most have": (
        cell(architecture=choice("affine", mixing=EXP | {"name": "permutation"}, scale=EXP)),
        "affine-exp_none_checkerboard_s0-2b4aa976ab63",
    ),
    "long": (
        cell(architecture=choice("a" * 40), dataset=choice("b" * 40), seed=12345),
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_none_bbbbbbb_s12345-2a398ff292f0",
    ),
    "strange": (
        cell(architecture=choice("my/flow: ünïcode")),
        "my-flow-n-code_none_checkerboard_s0-0ac98544f407",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_ids_are_pinned(name: str) -> None:
    """An id that moves makes every stored result of it unreachable: raise IDENTITY_VERSION."""
    found, expected = GOLDEN[name]
    assert found.id == expected


def test_the_specification_is_pinned() -> None:
    assert IDENTITY_VERSION == 1
    assert cell().specification() == (
        '{"architecture":{"name":"affine","parameters":{"couplings":8,"scale":{"name":"exp",'
        '"parameters":{},"version":1}},"version":1},"dataset":{"name":"checkerboard",'
        '"parameters":{"size":20000},"version":1},"identity":1,"probes":[{"name":'
        '"reconstruction","parameters":{"points":256},"version":1},{"name":"sampling",'
        '"parameters":{"samples":256},"version":1}],"protocol":1,"regularizer":{"name":"none","parameters":'
        '{},"version":1},"seed":0,"task":{"name":"density","parameters":{},"version":1},'
        '"training":{"batch_size":128,"gradient_clip":100.0,"learning_rate":0.001,'
        '"log_every":10,"precision":"float32","schedule":"constant","steps":300,'
        '"weight_decay":0.0}}'
    )


DECIDING: dict[str, object] = {
    "task": choice("classification"),
    "architecture": choice("residual"),
    "architecture version": choice("affine", 2, couplings=8, scale=EXP),
    "architecture parameter": choice("affine", couplings=9, scale=EXP),
    "architecture nested": choice("affine", couplings=8, scale=BOUNDED),
    "architecture nested version": choice("affine", couplings=8, scale=EXP | {"version": 2}),
    "regularizer": choice("log_scale"),
    "dataset": choice("checkerboard", size=20_001),
    "probes": (choice("reconstruction", points=256),),
    "probes parameter": (choice("reconstruction", points=1), choice("sampling", samples=256)),
    "probes every": (
        choice("reconstruction", points=256),
        choice("sampling", samples=256).model_copy(update={"every": 5}),
    ),
    "probes every, of another": (
        choice("reconstruction", points=256).model_copy(update={"every": 5}),
        choice("sampling", samples=256),
    ),
    "seed": 1,
    "training steps": Training(steps=301),
    "training batch_size": Training(batch_size=129),
    "training learning_rate": Training(learning_rate=2e-3),
    "training weight_decay": Training(weight_decay=1e-5),
    "training gradient_clip": Training(gradient_clip=None),
    "training schedule": Training(schedule="cosine"),
    "training log_every": Training(log_every=11),
    "training precision": Training(precision="float64"),
    "training non_finite": Training(non_finite="skip"),
    "training backpropagation": Training(backpropagation="guarded"),
}


def test_every_deciding_field_changes_the_id() -> None:
    ids = {cell(**{field.split()[0]: value}).id[-12:] for field, value in DECIDING.items()}
    assert len(ids | {cell().id[-12:]}) == len(DECIDING) + 1
    # None is forgotten: a field that is added has to be added above.
    assert {field.split()[0] for field in DECIDING} == set(Cell.model_fields)
    trained = {field.split()[1] for field in DECIDING if field.startswith("training")}
    assert trained == set(Training.model_fields)


def test_the_order_of_probes_changes_nothing() -> None:
    probes = (choice("sampling", samples=256), choice("reconstruction", points=256))
    assert cell(probes=probes) == cell()
    assert cell(probes=probes).id == cell().id


@pytest.mark.parametrize(
    "changed",
    [
        {"training": Training(learning_rate=1e-3, weight_decay=-0.0, gradient_clip=100)},
        {"training": Training.model_validate({"weight_decay": 0})},
        {"architecture": choice("affine", scale=EXP, couplings=8)},
    ],
)
def test_another_spelling_is_the_same_cell(changed: dict[str, object]) -> None:
    assert cell(**changed).id == cell().id


COUPLINGS = get("architecture", "additive").parameters.model_fields["couplings"].default
SPELLINGS: list[Callable[[str], str]] = [
    lambda text: text.replace("name: small", "name: another\nabout: another question"),
    lambda text: f"{text}resources: {{cpus: 2, gpus: 0.5}}",
    lambda text: f"{text}  regularizers: [{{name: none}}]\n  seeds: [0]",
    lambda text: text.replace("additive", f"{{name: additive, couplings: {COUPLINGS}}}"),
    lambda text: f"{text}training: {{steps: 300, gradient_clip: 100, weight_decay: 0}}",
    lambda text: (
        f"{text}training: {{steps: [1]}}\n"
        "overrides: [{match: {seed: 0}, training: {steps: 300}}]"
    ),
    lambda text: f"{text}probes: [{', '.join(reversed(USUAL_PROBES))}]",
    lambda text: (
        f"{text}probes: [{', '.join(USUAL_PROBES[:-1])}, {{name: {USUAL_PROBES[-1]}, every: null}}]"
    ),
    lambda text: f"{text}task: {{name: density}}",
]


@pytest.mark.parametrize("respell", SPELLINGS)
def test_how_a_suite_says_it_is_not_part_of_the_identity(
    tmp_path: Path, respell: Callable[[str], str]
) -> None:
    (plain,) = loaded(tmp_path, SMALL).cells
    text = respell(SMALL)
    assert text != SMALL
    (other,) = loaded(tmp_path, text).cells
    assert other.id == plain.id
    assert other == plain


def test_how_often_a_probe_runs_is_kept_in_the_specification(tmp_path: Path) -> None:
    (asked,) = loaded(tmp_path, f"{SMALL}probes: [{{name: sampling, every: 7}}]").cells
    assert '"every":7' in asked.specification()
    again = Cell.from_specification(asked.specification())
    assert (again, again.probes[0].every) == (asked, 7)
    assert resolve("probe", again.probes[0]) == again.probes[0]
    assert resolve("probe", again.probes[0].model_dump()) == again.probes[0]


def test_a_settled_entry_of_another_version_is_not_taken_for_this_one() -> None:
    settled = resolve("regularizer", "log_scale")
    assert resolve("regularizer", settled.model_dump()) == settled
    with pytest.raises(UnresolvedError, match=r"settled as version 7; this one is version 1"):
        resolve("regularizer", settled.model_dump() | {"version": 7})


def test_whole_and_broken_numbers_of_a_float_are_one_cell() -> None:
    one, other = (resolve("regularizer", {"name": "log_scale", "weight": w}) for w in (1, 1.0))
    assert cell(regularizer=one).specification() == cell(regularizer=other).specification()


@pytest.mark.parametrize("name", GOLDEN)
def test_a_specification_makes_the_cell_again(name: str) -> None:
    one, _ = GOLDEN[name]
    again = Cell.from_specification(one.specification())
    assert again == one
    assert again.id == one.id
    assert hash(again) == hash(one)
    assert again.specification() == one.specification()


@pytest.mark.parametrize("text", ["", "[]", "{}", "5", '{"identity": 1}', '{"identity": 2}'])
def test_what_is_no_specification_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Cell.from_specification(text)


def test_a_specification_of_another_version_is_not_read_as_this_one() -> None:
    content = json.loads(cell().specification()) | {"identity": 2}
    with pytest.raises(ValueError, match="identity version 2, not 1"):
        Cell.from_specification(json.dumps(content))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_there_is_no_identity_with_a_number_that_is_none(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        cell(regularizer=choice("log_scale", weight=value)).specification()
    with pytest.raises(ValidationError):
        Training(weight_decay=value)


@pytest.mark.parametrize(
    ("architecture", "prefix"),
    [
        ({"name": "affine", "scale": "exp"}, "affine-exp"),
        ({"name": "affine", "scale": "exp", "mixing": "lu"}, "affine-lu-exp"),
        ("additive", "additive"),
        ("maf", "maf-affine-sigmoid"),
        ("glow", "glow-lu-affine-sigmoid"),
    ],
)
def test_a_prefix_says_what_a_person_would(architecture: object, prefix: str) -> None:
    found = cell(architecture=resolve("architecture", architecture)).id
    assert found.startswith(f"{prefix}_none_checkerboard_s0-")


@pytest.mark.parametrize("name", GOLDEN)
def test_ids_are_file_names(name: str) -> None:
    one, _ = GOLDEN[name]
    prefix, _, digest = one.id.rpartition("-")
    assert len(prefix) <= 60
    assert len(digest) == 12
    assert int(digest, 16) >= 0
    assert prefix.endswith(f"_s{one.seed}")
    assert all(c.isascii() and (c.isalnum() or c in "_-.") for c in one.id)
    assert one.id[0].isalnum()


def test_a_changed_copy_of_a_cell_has_an_id_of_its_own() -> None:
    first = cell()
    assert first.id == cell().id
    changed = first.model_copy(update={"seed": 7})
    assert changed.id == cell(seed=7).id
    assert '"seed":7' in changed.specification()
    assert first.id == cell().id
