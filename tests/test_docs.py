"""What the documents say is true: links lead somewhere, examples run."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.bijections.linear.actnorm import ActNorm
from harness.measuring.lockstep import in_lockstep
from harness.measuring.networks import Networks
from harness.probes.subject import Subject
from harness.record import LayerMeasurement, Measurement
from harness.registry import entry
from harness.results.sandbox import run_sql
from harness.seeding import generator
from harness.suite.load import load
from tests import conformance
from tests.command import Command
from tests.networks import gaussian, perturb
from tests.probing import LOSS, inputs_in_a_cube
from tests.results.records import fill, measurement, record

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", ["README.md", "docs/suites.md"])
def test_example_suites_load(document: str, tmp_path: Path) -> None:
    found = [text for text in blocks(document, "yaml") if text.startswith("name:")]
    assert found
    for text in found:
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        assert load(path).cells


def test_the_readmes_sql_runs(innbench: Command, tiny: Path) -> None:
    innbench("run", str(tiny), "--inline")
    (query,) = re.findall(
        r'innbench sql "\n(.*?)"\n```', (ROOT / "README.md").read_text(), re.DOTALL
    )
    said = innbench("sql", query, "--csv")
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) > 1 + 3


def test_the_sql_on_results_runs_and_finds_the_layer_where_the_inverse_goes_wrong(
    tmp_path: Path,
) -> None:
    def number(metric: str, value: float, precision: str = "float64") -> Measurement:
        return replace(measurement("layer_profile", metric, "far", value), precision=precision)

    cells = [
        replace(
            record(seed=seed),
            measurements=(number("first_wrong_layer", wrong, "float32"),),
            layers=tuple(
                LayerMeasurement.on(number(metric, value), layer, block)
                for layer, block, scale in (
                    (0, "ActNorm", 0.5),
                    (1, "Coupling: Affine, Exp", 2**-30),
                )
                for metric, value in (("inverse_worst", 1 / scale), ("scale_smallest", scale))
            ),
        )
        for seed, wrong in enumerate([1, 1, -1, math.nan])
    ]
    fill(tmp_path, "demo", cells)
    *_, where = [run_sql(tmp_path, query).rows for query in blocks("docs/results.md", "sql")]
    assert where == (("affine", "far", 1, "Coupling: Affine, Exp", 2, 2.0**30, 2.0**-30),)


@pytest.mark.parametrize("document", ["docs/suites.md", "docs/tasks.md"])
def test_the_sql_of_a_document_runs(document: str, tmp_path: Path) -> None:
    for query in blocks(document, "sql"):
        assert run_sql(fill(tmp_path, "demo", [record()]), query).rows == ()


def test_the_example_entry_meets_the_contract() -> None:
    code = next(text for text in blocks("docs/entries.md", "python") if "def linear" in text)
    names: dict[str, object] = {}
    exec(compile(code, "docs/entries.md", "exec"), names)  # our own document
    linear = names["linear"]
    assert callable(linear)
    assert entry(version=1)(linear) is linear
    flow = linear((1, 4, 4), generator(0, "docs")).double()
    perturb(flow, 0)
    x = gaussian(3, (1, 4, 4))
    conformance.check_round_trip(flow, x, tolerance=1e-9)
    conformance.check_bounds(flow, x, tight=True)
    assert flow(x)[0].shape == (3, math.prod((1, 4, 4)))


def test_the_example_probe_measures() -> None:
    code = next(text for text in blocks("docs/entries.md", "python") if "async def" in text)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/entries.md", "exec"), names)  # our own document
    norms = [ActNorm(2), ActNorm(2)]
    with torch.no_grad():
        norms[1].log_scale.fill_(-math.log(10))
    run = names["largest_sample"](samples=64)
    inputs = inputs_in_a_cube({"test": torch.zeros(1, 2)}, step=3)
    coroutines = [run(Subject(inputs, LOSS), generator(0, "docs")) for _ in norms]
    networks = Networks(norms)
    ended = in_lockstep(coroutines, networks.answer, networks.pays)
    found = [one.result.unwrap() for one in sorted(ended, key=lambda one: one.number)]
    largest = float(torch.randn(64, 2, generator=generator(0, "docs")).abs().max())
    assert [[m.value for m in one] for one in found] == [
        [pytest.approx(largest)],
        [pytest.approx(10 * largest)],
    ]


def test_every_verb_of_the_readme_exists(innbench: Command) -> None:
    helped = innbench("--help").out
    verbs = set(re.findall(r"^innbench (\w+) ", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"run", "sql", "plan", "list", "leaderboard"} <= verbs
    assert all(verb in helped for verb in verbs)
