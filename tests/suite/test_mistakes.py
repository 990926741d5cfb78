import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import registry
from harness.errors import InputError
from harness.registry import Combination, entry
from harness.suite import load
from tests.suite.suite_text import SMALL, mistakes

BAD = """
name: ../x
abuot: hm
task: density
grid:
  architectures:
    - additve
    - name: affine
      couplings: "8"
      coupling: 3
      scale: [sigmod, {name: bounded_exp, limit: [0.5, 5], limt: 3}]
    - glow
    - residual
    - {name: residual}
  regularizers: [none, normalizing_flow]
  datasets: [checkerboard, digits]
  seeds: [0, 0, -1]
exclude:
  - {architecture: {name: affine, scal: exp}, dataset: digts}
  - {}
training: {steps: 300.5, batch_size: [], learning_rate: [1e-3, 1e-3, -2], lr: 3}
overrides:
  - {match: {dataset: digits, seeed: 3}, training: {steps: yes}}
  - {match: {dataset: digits}}
probes: [reconstruction, sampling, sampling]
resources: {cpus: 0, gpus: .inf, pack: 0}
name: again
"""

SAID = """
1: name: becomes a folder's name
2: abuot: unknown key; allowed: about, exclude, grid, …; did you mean 'about'?
6: grid.architectures[0]: unknown architecture 'additve'; …; did you mean 'additive'?
8: grid.architectures[1].couplings: … valid integer; got '8'
9: grid.architectures[1].coupling: … has no parameter 'coupling'; … did you mean 'couplings'?
10: grid.architectures[1].scale[0]: unknown scale map 'sigmod'; … did you mean 'sigmoid'?
10: grid.architectures[1].scale[1].limit[0]: … greater than 1; got 0.5
10: grid.architectures[1].scale[1].limt: … no parameter 'limt'; allowed: limit; did you mean
11: grid.architectures[2]: architecture glow cannot be combined with dataset checkerboard (line 15)
13: grid.architectures[4]: settles to the same as grid.architectures[3] on line 12
14: grid.regularizers[1]: regularizer normalizing_flow cannot be combined with task density (line 3)
16: grid.seeds[1]: the seed 0 is given twice
16: grid.seeds[2]: should be greater than or equal to 0; got -1
18: exclude[0].architecture.scal: … no parameter 'scal'; … did you mean 'scale'?
18: exclude[0].dataset: unknown dataset 'digts'; … did you mean 'digits'?
19: exclude[1]: is empty and would match every cell
20: training.batch_size: should not be empty
20: training.learning_rate[1]: 0.001 is given twice
20: training.learning_rate[2]: should be greater than 0; got -2
20: training.lr: unknown key; allowed: backpropagation, batch_size, …
20: training.steps: should be a valid integer; got 300.5
22: overrides[0].match.seeed: unknown key; … did you mean 'seed'?
22: overrides[0].training.steps: should be a valid integer; got 'yes'
23: overrides[1]: the key 'training' is needed
24: probes[2]: the probe 'sampling' is already on line 24
25: resources.cpus: should be greater than or equal to 0.01; got 0
25: resources.gpus: should be a finite number; got inf
25: resources.pack: should be auto, off or a whole number from 1; got 0
26: name: this key was already given on line 1
"""


def says(found: str, expected: str) -> bool:
    """Whether a sentence holds the pieces between the dots, in their order, from its start."""
    first, *rest = expected.split("…")
    if not found.startswith(f"suite.yaml:{first}"):
        return False
    place = len(f"suite.yaml:{first}")
    for piece in rest:
        place = found.find(piece.strip(), place)
        if place < 0:
            return False
    return True


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    found = mistakes(tmp_path, BAD)
    expected = SAID.strip().split("\n")
    for sentence in expected:
        assert [f for f in found if says(f, sentence)], f"{sentence}\nnot in\n" + "\n".join(found)
    assert len(found) == len(expected)
    lines = [int(sentence.split(":")[1]) for sentence in found]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("about: only this", ["1: the key 'name' is needed", "1: the key 'grid' is needed"]),
        (
            "name: x\ngrid: {architectures: [], datasets: [digits]}",
            ["2: grid.architectures: should not be empty"],
        ),
        (
            "name: x\ngrid:\n  datasets: [digits]",
            ["2: grid: the key 'architectures' is needed"],
        ),
        (
            "name: x\ngrid: {architectures: additive, datasets: [digits]}",
            ["2: grid.architectures: should be a valid list; got 'additive'"],
        ),
        ("name: x\ngrid: [additive]", ["2: grid: should be … got ['additive']"]),
        (f"{SMALL}  seeds: 0", ["5: grid.seeds: should be greater than or equal to 1; got 0"]),
        (f"{SMALL}  seeds: []", ["5: grid.seeds: should not be empty"]),
        (f"{SMALL}  seeds: [1.0]", ["5: grid.seeds[0]: should be a valid integer; got 1.0"]),
        (f"{SMALL}  seeds: true", ["5: grid.seeds: should be a valid integer; got True"]),
        (f"{SMALL}probes: []", ["5: probes: should not be empty"]),
        (f"{SMALL}probes: [sampler]", ["5: probes[0]: unknown probe 'sampler'"]),
        *(
            (
                f"{SMALL}probes: [{{name: log_det, every: {every}}}]",
                [f"5: probes[0].every: probe 'log_det': input should be {sentence}"],
            )
            for every, sentence in (
                ("0", "greater than or equal to 1; got 0"),
                ("-3", "greater than or equal to 1; got -3"),
                ("often", "a valid integer; got 'often'"),
                ("1.5", "a valid integer; got 1.5"),
                ("true", "a valid integer; got True"),
                ("[5, 10]", "a valid integer; got [5, 10]"),
            )
        ),
        (
            f"{SMALL}probes: [{{name: log_det, evry: 5}}]",
            ["5: probes[0].evry: … has no parameter 'evry'; … did you mean 'every'?"],
        ),
        (
            SMALL.replace("additive", "{name: additive, every: 5}"),
            ["3: grid.architectures[0].every: … has no parameter 'every'"],
        ),
        (
            f"{SMALL}probes: [{{name: log_det, version: 1, parameters: {{}}, every: 5}}]",
            ["5: probes[0]: a suite gives parameters beside the name, and no version"],
        ),
        (
            f"{SMALL}probes: [{{name: sampling, samples: [10, 20]}}]",
            ["5: probes[0].samples: … valid integer; got [10, 20]"],
        ),
        (f"{SMALL}exclude:", ["5: exclude: should be a valid list; got null"]),
        (f"{SMALL}exclude: [{{}}]", ["5: exclude[0]: is empty and would match every cell"]),
        (f"{SMALL}exclude: [{{seed: 5}}]", ["5: exclude[0]: matches no cell of the grid"]),
        (
            f"{SMALL}exclude: [{{architecture: {{name: additive, width: '32'}}}}]",
            ["5: exclude[0]: matches no cell of the grid"],
        ),
        (
            f"{SMALL}exclude: [{{architecture: {{width: 32}}}}]",
            [
                "5: exclude[0].architecture: expected the name of a architecture".replace(
                    " a a", " …"
                )
            ],
        ),
        (f"{SMALL}exclude: [{{dataset: []}}]", ["5: exclude[0].dataset: should not be empty"]),
        (f"{SMALL}exclude: [{{task: density}}]", ["5: exclude: leaves no cell of the grid"]),
        (
            f"{SMALL}overrides: [{{match: {{dataset: digits}}, training: {{steps: 1}}}}]",
            ["5: overrides[0].match: matches no cell that is left of the grid"],
        ),
        (
            f"{SMALL}overrides: [{{match: {{seed: 0}}, training: {{}}}}]",
            ["5: overrides[0].training: should not be empty"],
        ),
        (f"{SMALL}training: {{steps: null}}", ["5: training.steps: … valid integer; got null"]),
        (f"{SMALL}training: {{learning_rate: .nan}}", ["5: training.learning_rate: … finite"]),
        (f"{SMALL}training: {{gradient_clip: 0}}", ["5: training.gradient_clip: … than 0; got 0"]),
        (
            f"{SMALL}training: {{schedule: linear}}",
            ["5: training.schedule: should be 'constant' or 'cosine'; got 'linear'"],
        ),
        (f"{SMALL}training: 5", ["5: training: should be a valid dictionary; got 5"]),
        (
            "name: x\ngrid:\n  datasets: [digits]\n  architectures:\n"
            "  - {name: residual, coefficient: .inf}",
            ["5: grid.architectures[0].coefficient: architecture 'residual': … finite"],
        ),
        (
            "name: x\ngrid:\n  datasets: [digits]\n  architectures:\n"
            "  - {name: additive, width: []}",
            ["5: grid.architectures[0].width: should not be empty"],
        ),
        (
            "name: x\ngrid:\n  datasets: [digits]\n  architectures:\n"
            "  - {name: additive, width: [8, 8]}",
            ["5: grid.architectures[0]: two of its forms settle to the same"],
        ),
        (
            "name: x\ngrid:\n  datasets: [digits]\n  architectures:\n"
            "  - {name: additive, version: 1, parameters: {}}",
            ["5: grid.architectures[0]: a suite gives parameters beside the name"],
        ),
        (
            SMALL.replace(
                "additive", "{name: affine, scale: {name: exp, version: 1, parameters: {}}}"
            ),
            ["3: grid.architectures[0].scale: a suite gives parameters beside the name"],
        ),
        (
            SMALL.replace(
                "additive", "{name: affine, width: x, couplings: [1, 2], layers: [1, 2]}"
            ),
            ["3: grid.architectures[0].width: … valid integer; got 'x'"],
        ),
        (f"{SMALL}  extra:\n    [1]", ["5: grid.extra: unknown key"]),
        (
            "name: x\ngrid:\n  datasets: [digits]\n  architectures: [{width: 3}, 5, [additive]]",
            [f"4: grid.architectures[{i}]: expected a name, or a mapping" for i in range(3)],
        ),
    ],
)
def test_one_mistake_is_one_sentence(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = mistakes(tmp_path, text)
    assert len(found) == len(expected), found
    for one, sentence in zip(sorted(found), sorted(expected), strict=True):
        assert says(one, sentence), one


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", ".hidden", "x.", "x\n", "a" * 65])
def test_a_name_that_cannot_be_a_folder(tmp_path: Path, name: str) -> None:
    (found,) = mistakes(tmp_path, SMALL.replace("small", f'"{name}"'.replace("\n", "\\n")))
    assert says(found, "1: name: becomes a folder's name")


@pytest.mark.parametrize("name", ["a", "paper-1.2_x", "A" * 64])
def test_a_name_that_can(tmp_path: Path, name: str) -> None:
    assert mistakes(tmp_path, SMALL.replace("small", name)) == []


def test_a_mistake_in_one_entry_does_not_accuse_the_rules_about_it(tmp_path: Path) -> None:
    text = """
        name: x
        grid: {architectures: [additve, residual], datasets: [digits]}
        exclude: [{architecture: additive}]
        """
    (found,) = mistakes(tmp_path, text)
    assert "unknown architecture 'additve'" in found


def test_a_mistake_elsewhere_does_not_hide_an_idle_rule(tmp_path: Path) -> None:
    found = mistakes(tmp_path, f"{SMALL}exclude: [{{seed: 5}}]\nabuot: x")
    assert len(found) == 2
    assert says(found[0], "5: exclude[0]: matches no cell of the grid")


def test_a_refusal_is_told_once_and_names_the_lines(tmp_path: Path) -> None:
    text = """
        name: x
        grid:
          architectures:
            - {name: glow, width: [8, 16, 32]}
            - {name: glow, levels: 4}
            - additive
          regularizers: [none, {name: finite_difference, weight: [1, 2]}]
          datasets:
            - checkerboard
            - eight_gaussians
            - digits
          seeds: 5
        """
    found = mistakes(tmp_path, text)
    both = "dataset checkerboard (line 9), eight_gaussians (line 10)"
    assert len(found) == 2
    points, digits = found
    assert says(points, f"4: … architecture glow (also on line 5) … {both}: glow needs images")
    assert says(digits, "5: … glow(… levels=4) … with dataset digits (line 11): glow halves")


def test_excluded_combinations_are_not_refused(tmp_path: Path) -> None:
    text = """
        name: x
        grid: {architectures: [glow, additive], datasets: [checkerboard, digits], seeds: 2}
        exclude: [{architecture: glow, dataset: checkerboard}]
        """
    assert mistakes(tmp_path, text) == []
    half = text.replace("dataset: checkerboard}", "dataset: checkerboard, seed: 0}")
    assert len(mistakes(tmp_path, half)) == 1


def _by_value_error(combination: Combination) -> str | None:
    raise ValueError(f"width {combination.architecture.parameters['width']} is a bad omen")


def _by_accident(combination: Combination) -> str | None:
    return str(1 // (len(combination.shape) - 1))


@entry(version=1, refuses=_by_value_error)
def superstitious(*, width: int = 13) -> None:
    """Refuses by raising."""


@entry(version=1, refuses=_by_accident)
def fragile() -> None:
    """Refuses by breaking."""


@entry(version=1)
def unreadable(*, colour: str = "red") -> SimpleNamespace:
    """Cannot be built."""
    raise OSError(f"no {colour} disk")


@entry(version=1)
def listed(*, widths: list[int] = [1, 2]) -> None:  # noqa: B006
    """Takes a list."""


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    for axis, factory in (
        ("architecture", superstitious),
        ("architecture", fragile),
        ("architecture", listed),
        ("dataset", unreadable),
    ):
        place = f"{__name__}:{factory.__name__}"
        monkeypatch.setitem(registry.BUILT_IN[axis], factory.__name__, place)


@pytest.mark.usefixtures("strangers")
def test_entries_that_raise_become_sentences(tmp_path: Path) -> None:
    text = """
        name: x
        grid:
          architectures: [superstitious, fragile]
          datasets: [checkerboard, unreadable]
        """
    found = mistakes(tmp_path, text)
    assert len(found) == 3
    assert says(found[0], "3: … superstitious cannot be … checkerboard … 13 is a bad omen")
    assert says(found[1], "3: … fragile cannot be … checkerboard … ZeroDivisionError: ")
    assert says(found[2], "4: grid.datasets[1]: dataset 'unreadable' cannot be … no red disk")


@pytest.mark.usefixtures("strangers")
def test_a_parameter_that_is_a_list_is_written_as_a_list_of_lists(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: x\ngrid:\n  architectures: [{name: listed, widths: [[3], [4, 5]]}]\n"
        "  datasets: [checkerboard]\n"
    )
    found = [cell.architecture.parameters["widths"] for cell in load(path).cells]
    assert found == [[3], [4, 5]]


MANY = ", ".join(map(str, range(1, 400)))


@pytest.mark.parametrize(
    "text",
    [
        f"{SMALL}  seeds: 1000000000000",
        f"{SMALL}  seeds: 100001",
        f"{SMALL}training: {{steps: [{MANY}], batch_size: [{MANY}], log_every: [{MANY}]}}",
        f"{SMALL}  seeds: 1000\ntraining: {{steps: [{MANY}]}}",
        f"{SMALL}training: {{steps: [{MANY}]}}\n"
        f"overrides: [{{match: {{task: density}}, training: {{batch_size: [{MANY}]}}}}]",
        SMALL.replace(
            "additive",
            f"{{name: additive, layers: [{MANY}], width: [{MANY}], couplings: [{MANY}]}}",
        ),
        SMALL.replace("additive", f"{{name: additive, layers: [{MANY}]}}") + "  seeds: 300",
    ],
)
def test_a_grid_without_end_is_a_sentence_and_not_a_hang(tmp_path: Path, text: str) -> None:
    start = time.monotonic()
    (found,) = mistakes(tmp_path, text)
    assert "100000" in found
    assert time.monotonic() - start < 60  # it would be hours


def test_problems_can_be_read_by_programs(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{SMALL.lstrip()}  seeds: 0\n")
    with pytest.raises(InputError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key) == (str(path), 5, ("grid", "seeds"))


def test_an_impossible_combination_is_told_although_another_axis_is_all_wrong(
    tmp_path: Path,
) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "name: s\n"
        "grid:\n"
        "  architectures: [afine, aditive]\n"
        "  regularizers: [normalizing_flow, log_scale]\n"
        "  datasets: [checkerboard]\n"
    )
    with pytest.raises(InputError) as raised:
        load(path)
    told = [str(problem) for problem in raised.value.problems]
    assert len(told) == 3, told
    assert "the density loss itself" in told[2]
    # Whether log_scale has something to penalise depends on the architecture: nothing is said.
    assert not any("log_scale" in one for one in told)
