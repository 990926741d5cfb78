import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from harness.suite import json_schema, load, suites
from tests.suite.suite_text import SMALL, written
from tests.suite.test_expansion import EXAMPLE
from tests.suite.test_mistakes import BAD

GOOD = [
    EXAMPLE,
    SMALL,
    f"{SMALL}  seeds: [3, 4]\n  regularizers: [{{name: finite_difference, weight: [1, 2.5]}}]",
    f"{SMALL}training: {{gradient_clip: [null, 5], schedule: [constant, cosine], steps: 0}}",
    f"{SMALL}overrides: [{{match: {{task: [density], seed: [0]}}, training: {{steps: [1, 2]}}}}]",
    f"{SMALL}probes: [{{name: sampling, samples: 10}}]\nresources: {{gpus: 0.5}}\nabout: x",
    f"{SMALL}probes: [{{name: sampling, every: 10}}, {{name: log_det, every: null}}]",
    "name: x\ngrid:\n  datasets: [digits]\n  architectures:\n"
    "  - {name: affine, scale: {name: bounded_exp, limit: [2, 3]}}\n"
    "exclude: [{architecture: {name: affine, scale: [{name: bounded_exp, limit: [2]}]}}]",
]

STRUCTURALLY_BAD = [
    "about: only this",
    SMALL.replace("small", "../x"),
    SMALL.replace("small", "5"),
    SMALL.replace("additive", "additve"),
    SMALL.replace("additive", "{name: additive, widht: 3}"),
    SMALL.replace("additive", "{name: additive, width: '3'}"),
    SMALL.replace("additive", "{name: additive, width: [3, x]}"),
    SMALL.replace("additive", "{name: additive, width: 0}"),
    SMALL.replace("additive", "{name: affine, scale: [sigmod]}"),
    SMALL.replace("additive", "{name: additive, version: 1, parameters: {}}"),
    SMALL.replace("[additive]", "additive"),
    SMALL.replace("[additive]", "[]"),
    f"{SMALL}  seeds: 0",
    f"{SMALL}  seeds: [-1]",
    f"{SMALL}  seed: 3",
    f"{SMALL}training: {{lr: 3}}",
    f"{SMALL}training: {{steps: -1}}",
    f"{SMALL}training: {{steps: [5, 1.5]}}",
    f"{SMALL}training: {{steps: []}}",
    f"{SMALL}exclude: [{{}}]",
    f"{SMALL}exclude: [{{architecture: {{name: additive, widht: 3}}}}]",
    f"{SMALL}exclude: [{{dataset: digts}}]",
    f"{SMALL}overrides: [{{match: {{seed: 0}}}}]",
    f"{SMALL}overrides: [{{match: {{seed: 0}}, training: {{}}}}]",
    f"{SMALL}probes: [sampler]",
    f"{SMALL}probes: [{{name: sampling, samples: [10, 20]}}]",
    f"{SMALL}probes: [{{name: sampling, every: 0}}]",
    f"{SMALL}probes: [{{name: sampling, every: often}}]",
    f"{SMALL}probes: [{{name: sampling, every: [10, 20]}}]",
    f"{SMALL}resources: {{cpus: 0}}",
    f"{SMALL}resources: {{memory: 3}}",
    BAD.replace("name: again\n", ""),
]


def accepts(text: str) -> bool:
    validator = Draft202012Validator(json_schema())
    return bool(validator.is_valid(YAML(typ="safe", pure=True).load(text)))


def test_it_is_a_json_schema() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema
    assert "x-entries" not in json.dumps(schema)


@pytest.mark.parametrize("text", GOOD)
def test_what_loads_is_accepted(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text)).cells
    assert accepts(text)


@pytest.mark.parametrize("text", STRUCTURALLY_BAD)
def test_what_is_badly_built_is_refused_by_both(tmp_path: Path, text: str) -> None:
    with pytest.raises(Exception, match=r"suite\.yaml:"):
        load(written(tmp_path, text))
    assert not accepts(text)


def test_the_suites_that_ship_load_and_are_accepted() -> None:
    for path in suites().values():
        assert load(path).cells
        assert accepts(path.read_text(encoding="utf-8"))


def test_every_key_is_explained_for_the_editor() -> None:
    schema = json_schema()
    parts = [schema, *(schema["$defs"][name] for name in ("Grid", "Resources", "Override"))]
    parts.append(schema["properties"]["training"])
    for part in parts:
        for key, item in part["properties"].items():
            assert item.get("description"), key


def test_every_key_stands_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
    schema = json_schema()
    keys = [key for key in schema["properties"] if key not in {"grid", "resources"}]
    keys += [*schema["properties"]["training"]["properties"]]
    keys += [f"grid.{key}" for key in schema["$defs"]["Grid"]["properties"]]
    keys += [f"resources.{key}" for key in schema["$defs"]["Resources"]["properties"]]
    keys += [*schema["$defs"]["Rule"]["properties"], "overrides[].match", "overrides[].training"]
    assert [key for key in keys if f"| `{key}`" not in text] == []


def test_the_example_of_the_documentation_has_the_cells_it_says(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    assert f"= {len(load(written(tmp_path, example)).cells)} cells" in text
