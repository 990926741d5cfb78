"""Presets: parameters by a name, which is no part of what they settle to."""

import json
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator

from harness import registry
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.batch_norm import BatchNorm
from harness.registry import Entry, Shape, UnresolvedError, choice_schema, entry
from harness.registry.entry import described
from harness.suite.rules import Rule
from tests.command import Command
from tests.networks import fits
from tests.suite.suite_text import loaded, mistakes

PRESETS = [
    (axis, name, preset)
    for axis in registry.AXES
    for name in registry.names(axis)
    for preset in registry.get(axis, name).presets
]
SHAPES: tuple[Shape, ...] = ((2,), (3, 32, 32), (3, 64, 64))


@pytest.mark.parametrize(("axis", "name", "preset"), PRESETS)
def test_every_preset_settles_and_means_something(axis: str, name: str, preset: str) -> None:
    settled = registry.resolve(axis, {"name": name, "preset": preset})
    assert settled == registry.resolve(
        axis, {"name": name, **registry.get(axis, name).presets[preset]}
    )
    others = set(registry.get(axis, name).presets) - {preset}
    for other in [{}, *({"preset": one} for one in others)]:
        assert settled != registry.resolve(axis, {"name": name, **other})
    assert Draft202012Validator(choice_schema(axis)).is_valid({"name": name, "preset": preset})
    if axis == "architecture":
        assert any(fits(settled, shape) for shape in SHAPES)


def test_what_is_given_beside_a_preset_comes_first() -> None:
    given = {"name": "affine", "width": 8, "preset": "paper_regression", "scale": "exp"}
    settled = registry.resolve("architecture", given)
    assert settled.parameters["width"] == 8
    assert settled.parameters["couplings"] == 24
    label = registry.label("architecture", settled)
    assert label == "affine(scale=exp, couplings=24, width=8, mixing=reverse, order=shift_first)"
    assert registry.resolve("architecture", settled.model_dump()) == settled


SENTENCES = {
    "an unknown preset": (
        {"name": "additive", "preset": "nise"},
        r"^preset: architecture 'additive' has no preset 'nise'; allowed: nice; "
        r"did you mean 'nice'\?$",
    ),
    "an entry without presets": (
        {"name": "flow_plus_plus", "preset": "nice"},
        r"^preset: architecture 'flow_plus_plus' has no presets$",
    ),
    "no name": (
        {"name": "additive", "preset": ["nice"]},
        r"^preset: architecture 'additive' takes the name of a preset, not \['nice'\]$",
    ),
    "a key that is nearly it": ({"name": "additive", "presets": "nice"}, "did you mean 'preset'"),
}


@pytest.mark.parametrize("mistake", SENTENCES)
def test_mistakes_are_told(mistake: str) -> None:
    given, sentence = SENTENCES[mistake]
    with pytest.raises(UnresolvedError, match=sentence):
        registry.resolve("architecture", given)


def test_a_probes_parameter_cannot_be_called_every() -> None:
    @entry(version=1)
    def strange(*, every: int = 3) -> None:
        """Has a parameter that a suite could not set."""

    with pytest.raises(TypeError, match="'every', which a suite says of any probe"):
        described("probe", "strange", strange, "here")
    assert "every" in described("regularizer", "strange", strange, "here").parameters.model_fields


def test_a_parameter_cannot_be_called_preset() -> None:
    @entry(version=1)
    def strange(shape: Shape, generator: torch.Generator, *, preset: int = 3) -> None:
        """Has a parameter that a suite could not set."""

    with pytest.raises(TypeError, match="'preset', which names a preset in a suite"):
        described("architecture", "strange", strange, "here")


GRID = """
name: presets
grid:
  architectures: [{architectures}]
  datasets: [checkerboard]
"""


def _ids(folder: Path, architectures: str, more: str = "") -> list[str]:
    text = GRID.replace("{architectures}", architectures) + more
    return [cell.id for cell in loaded(folder, text).cells]


def test_a_preset_is_a_way_of_writing(tmp_path: Path) -> None:
    by_name = _ids(tmp_path, "{name: affine, preset: real_nvp}")
    in_full = _ids(
        tmp_path,
        "{name: affine, scale: bounded_exp, couplings: 5, width: 100, split: alternating, "
        "mixing: none, actnorm: false, batch_norm: true}",
    )
    assert by_name == in_full


@pytest.mark.parametrize(
    ("name", "preset"), [("affine", "real_nvp"), ("maf", "maf_5"), ("maf", "maf_10")]
)
def test_networks_with_batch_norm_in_their_paper_have_it(name: str, preset: str) -> None:
    settled = registry.resolve("architecture", {"name": name, "preset": preset})
    flow = registry.build("architecture", settled, (2,), torch.Generator())
    kinds = [type(part) for part in flow.parts]
    assert kinds.count(BatchNorm) == (10 if preset == "maf_10" else 5)
    assert ActNorm not in kinds


@pytest.mark.parametrize(("axis", "name", "preset"), PRESETS)
def test_what_a_label_shows_of_a_preset_is_the_same_cell(axis: str, name: str, preset: str) -> None:
    settled = registry.resolve(axis, {"name": name, "preset": preset})
    for value in settled.parameters.values():
        if isinstance(value, float):
            assert float(f"{value:g}") == value


def test_a_list_of_presets_expands(tmp_path: Path) -> None:
    both = _ids(tmp_path, "{name: affine, preset: [real_nvp, glow_vectors], width: [8, 16]}")
    apart = [
        *_ids(tmp_path, "{name: affine, preset: real_nvp, width: [8, 16]}"),
        *_ids(tmp_path, "{name: affine, preset: glow_vectors, width: [8, 16]}"),
    ]
    assert len(set(both)) == 4
    assert set(both) == set(apart)


def test_a_rule_may_name_a_preset(tmp_path: Path) -> None:
    three = "additive, {name: affine, preset: [real_nvp, glow_vectors, paper_regression], width: 8}"
    rule = "exclude: [{architecture: {name: affine, preset: [%s], width: 8}}]\n"
    left = _ids(tmp_path, three, rule % "real_nvp, paper_regression")
    assert left == _ids(tmp_path, "additive, {name: affine, preset: glow_vectors, width: 8}")


@pytest.mark.parametrize(("axis", "name", "preset"), PRESETS)
def test_the_rule_of_a_preset_means_no_other(axis: str, name: str, preset: str) -> None:
    settled = registry.resolve(axis, {"name": name, "preset": preset})
    for other in registry.get(axis, name).presets:
        rule = Rule((), {axis: [{"name": name, "preset": other}]}, None)
        assert rule.matches_choice(axis, settled) == (other == preset)


def test_a_rule_means_a_preset_and_not_one_that_says_more(tmp_path: Path) -> None:
    plain, modified = "paper_checkerboard", "paper_checkerboard_modified"
    both = f"{{name: affine, preset: [{plain}, {modified}]}}"
    for excluded, left in ((plain, modified), (modified, plain)):
        rule = f"exclude: [{{architecture: {{name: affine, preset: {excluded}}}}}]\n"
        assert _ids(tmp_path, both, rule) == _ids(tmp_path, f"{{name: affine, preset: {left}}}")


def test_what_a_rule_says_beside_a_preset_comes_first(tmp_path: Path) -> None:
    both = "{name: affine, preset: real_nvp, width: [8, 16, 100], mixing: [none, reverse]}"
    left = {
        "width: [8, 16]": "{name: affine, preset: real_nvp, width: 100}, "
        "{name: affine, preset: real_nvp, width: [8, 16, 100], mixing: reverse}",
        "mixing: [none, reverse], width: [8, 100]": "{name: affine, preset: real_nvp, width: 16, "
        "mixing: [none, reverse]}",
    }
    for said, others in left.items():
        rule = f"exclude: [{{architecture: {{name: affine, preset: real_nvp, {said}}}}}]\n"
        assert set(_ids(tmp_path, both, rule)) == set(_ids(tmp_path, others))


@entry(
    version=1,
    presets={
        "big": {"widths": [64, 64]},
        "small": {"widths": [8]},
        "wrong": {"widths": 8},
    },
)
def _listing(
    shape: Shape,
    generator: torch.Generator,
    *,
    size: int,
    widths: list[int] = [8, 8],  # noqa: B006
) -> None:
    """A parameter that is a list, and one that is needed."""


@pytest.mark.parametrize("preset", ["big", "small", "wrong"])
def test_a_preset_may_hold_a_list(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = described("architecture", "mine", _listing, "here")
    for module in ("harness.registry.settle", "harness.suite.rules"):
        monkeypatch.setattr(f"{module}.get", lambda axis, name: mine)
    settled = registry.resolve("architecture", {"name": "mine", "preset": "big", "size": 3})
    assert settled.parameters["widths"] == [64, 64]
    for said in ({}, {"size": 3}, {"size": [3, 4]}):
        rule = Rule((), {"architecture": [{"name": "mine", "preset": preset, **said}]}, None)
        assert rule.matches_choice("architecture", settled) == (preset == "big")


@pytest.mark.parametrize(
    ("architectures", "more", "said"),
    [
        ("{name: affine, preset: [real_nvp, realnvp]}", "", "did you mean 'real_nvp'?"),
        ("{name: affine, preset: []}", "", "should not be empty: it leaves nothing to run"),
        ("{name: affine, preset: nice, width: 0}", "", "affine' has no preset 'nice'"),
        ("{name: affine, preset: real_nvp, width: 0}", "", "greater than or equal to 1; got 0"),
        ("residual, additive", "exclude: [{architecture: {name: additive, preset: [nise]}}]",
         "did you mean 'nice'?"),
        ("residual, additive", "exclude: [{architecture: {name: additive, preset: []}}]",
         "should not be empty: it matches nothing"),
        ("{name: affine, preset: real_nvp}, {name: affine, preset: real_nvp, width: 100}", "",
         "every cell of it would be there twice"),
    ],
)  # fmt: skip
def test_mistakes_of_a_suite_are_told(
    tmp_path: Path, architectures: str, more: str, said: str
) -> None:
    (sentence,) = mistakes(tmp_path, GRID.replace("{architectures}", architectures) + more)
    assert said in sentence
    assert sentence.startswith("suite.yaml:")


def test_presets_are_listed(innbench: Command) -> None:
    rows = {row["name"]: row for row in json.loads(innbench("list", "architectures", "--json").out)}
    assert rows["additive"]["presets"]["nice"]["width"] == 1000
    assert rows["flow_plus_plus"]["presets"] == {}
    text = " ".join(innbench("list", "architectures").out.split())
    assert "Presets: maf_10, maf_5." in text


def test_an_editor_knows_the_presets() -> None:
    validator = Draft202012Validator(choice_schema("architecture"))
    assert validator.is_valid({"name": "affine", "preset": ["real_nvp", "glow_vectors"]})
    assert not validator.is_valid({"name": "affine", "preset": "realnvp"})
    assert not validator.is_valid({"name": "flow_plus_plus", "preset": "nice"})


def test_an_entry_holds_its_presets() -> None:
    found: Entry = registry.get("architecture", "additive")
    assert set(found.presets) == {"nice"}


MILLIONS: dict[tuple[str, str, Shape], float] = {
    ("affine", "paper_checkerboard", (2,)): 10.01,
    ("residual", "paper_checkerboard", (2,)): 5.02,
    ("glow", "paper_cifar10", (3, 32, 32)): 44.0,
    ("glow", "paper_cifar10_additive", (3, 32, 32)): 37.8,
}
"""Parameters of the networks of arXiv 2006.09347, counted in its code."""


@pytest.mark.parametrize(("name", "preset", "shape"), MILLIONS)
def test_networks_of_the_paper_have_its_number_of_parameters(
    name: str, preset: str, shape: Shape
) -> None:
    settled = registry.resolve("architecture", {"name": name, "preset": preset})
    flow = registry.build("architecture", settled, shape, torch.Generator().manual_seed(0))
    count = sum(parameter.numel() for parameter in flow.parameters()) / 1e6
    # Its Glow has ActNorm in place of biases within, and a learnt prior.
    assert count == pytest.approx(MILLIONS[name, preset, shape], rel=5e-3)
