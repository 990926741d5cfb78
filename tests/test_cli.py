"""The verbs, end to end, on real cells that run in this process."""

import csv
import io
import json
import re
from operator import itemgetter
from pathlib import Path
from typing import NoReturn

import pytest

from harness import registry
from harness.probes import sampling
from harness.probes.subject import Probe
from tests.command import Command

BAD = """
name: bad
grid:
  architectures: [afine, additive]
  datasets: [checkerboard]
  seed: 3
training: {steps: many}
"""


def test_a_sweep_runs_to_its_leaderboard(innbench: Command, tiny: Path) -> None:
    first = innbench("plan", str(tiny))
    assert first.code == 0
    assert "6 cells: 6 new" in first.out
    assert "next: innbench run" in first.err
    ran = innbench("run", str(tiny), "--inline")
    assert ran.code == 0, ran.err
    assert "6 cells done" in ran.err
    assert "next: innbench leaderboard" in ran.err
    board = innbench("leaderboard", str(tiny))
    assert board.code == 0, board.err
    for entrant in ("additive", "affine(scale=exp)", "affine(scale=bounded_exp)"):
        assert entrant in board.out
    counted = innbench("sql", "select count(*) n, count(distinct cell_id) m from cells", "--json")
    assert json.loads(counted.out) == [{"n": 6, "m": 6}]


def test_the_board_prints_the_sql_it_came_from_and_that_sql_runs(
    innbench: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    innbench("run", str(tiny), "--inline")
    board = innbench("leaderboard", str(tiny)).out
    query = board.split("tiny: stability")[0]
    assert "from measurements" in query
    said = innbench("sql", query, "--json")
    assert said.code == 0, said.err
    assert len(json.loads(said.out)) == 6
    monkeypatch.setattr("sys.stdin", io.StringIO(query))
    again = json.loads(innbench("sql", "-", "--json").out)
    key = itemgetter("cell_id")
    assert sorted(map(key, again)) == sorted(map(key, json.loads(said.out)))


def test_the_same_command_resumes_and_plan_says_why(innbench: Command, tiny: Path) -> None:
    innbench("run", str(tiny), "--inline")
    again = innbench("run", str(tiny), "--inline")
    assert "0 to run" in again.err
    tiny.write_text(tiny.read_text().replace("steps: 3", "steps: 4"))
    planned = json.loads(innbench("plan", str(tiny), "--json").out)
    assert {cell["why"] for cell in planned["cells"]} == {"changed"}
    assert all("training.steps 3 → 4" in cell["detail"] for cell in planned["cells"])
    assert all(cell["expected_seconds"] > 0 for cell in planned["cells"])


def test_numbers_do_not_depend_on_the_run(innbench: Command, tiny: Path) -> None:
    query = (
        "select cell_id, probe, metric, inputs, precision, value::varchar v from measurements "
        "order by all"
    )
    outputs = []
    for store in ("a", "b"):
        innbench("run", str(tiny), "--inline", "--store", store)
        outputs.append(innbench("sql", query, "--json", "--store", store).out)
    assert len(json.loads(outputs[0])) > 6 * 30
    assert outputs[0] == outputs[1]


def test_curves_measurements_and_provenance_are_there(innbench: Command, tiny: Path) -> None:
    innbench("run", str(tiny), "--inline")
    curve = innbench("sql", "select distinct metric from curves order by 1", "--csv")
    assert curve.out.split() == ["metric", "gradient_norm", "learning_rate", "loss"]
    rows = json.loads(innbench("sql", "select provenance from cells limit 1", "--json").out)
    known = json.loads(rows[0]["provenance"])
    assert known["innbench"]
    assert known["torch"]
    assert len(known["data_sha256"]) == 64
    named = innbench("sql", "select distinct probe from measurements order by 1", "--csv")
    assert named.out.split() == ["probe", "reconstruction", "sampling", "task"]


@pytest.mark.parametrize("form", ["md", "csv", "json"])
def test_leaderboard_formats(innbench: Command, tiny: Path, form: str) -> None:
    innbench("run", str(tiny), "--inline")
    said = innbench("leaderboard", str(tiny), "--format", form)
    assert said.code == 0
    if form == "json":
        assert len(json.loads(said.out)["rows"]) == 3
    elif form == "csv":
        assert len(list(csv.DictReader(io.StringIO(said.out)))) == 3
    else:
        assert said.out.count("\n|") >= 4


def test_three_mistakes_are_three_sentences_and_nothing_runs(
    innbench: Command, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    said = innbench("run", "bad.yaml")
    assert said.code == 2
    lines = said.err.strip().split("\n")
    assert len(lines) == 3
    assert all(line.startswith("error: bad.yaml:") for line in lines)
    assert "'afine'" in lines[0]
    assert "did you mean 'affine'" in lines[0]
    assert "did you mean 'seeds'" in lines[1]
    assert "steps" in lines[2]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "quikstart"], "did you mean 'quickstart'"),
        (["sql", "select 1"], "there is no store"),
        (["leaderboard", "quickstart"], "there is no store"),
        (["list", "architectur"], "did you mean 'architecture'"),
        (["run", "quickstart", "--inline", "--workers", "2"], "leave out --workers"),
        (["run", "quickstart", "--address", "auto", "--inline"], "leave out"),
        (["run", "missing.yaml"], "missing.yaml"),
        (["run", "quickstart", "--inline", "--store", "a[b]"], "holds [ ]"),
        (["sql", "select 1", "--store", "a*b"], "holds *"),
        (["run", "quickstart", "--inline", "--store", "/proc/store"], "cannot write into"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    innbench: Command, arguments: list[str], said: str
) -> None:
    result = innbench(*arguments)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
    assert result.err.count("error:") == 1


def test_sql_reads_and_does_nothing_else(innbench: Command, tiny: Path, tmp_path: Path) -> None:
    innbench("run", str(tiny), "--inline")
    before = sorted(tmp_path.rglob("*"))
    for attack in (
        "copy (select 1) to 'x.csv'",
        "select * from read_csv('/etc/passwd')",
        "install httpfs",
        "select * from '../secret.parquet'",
    ):
        said = innbench("sql", attack)
        assert said.code == 2, attack
        assert said.err.startswith("error: ")
        assert said.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_list_names_every_entry(innbench: Command) -> None:
    rows = json.loads(innbench("list", "--json").out)
    for axis in registry.AXES:
        named = [row["name"] for row in rows if row["axis"] == axis]
        assert named == registry.names(axis)
    assert "quickstart" in [row["name"] for row in rows if row["axis"] == "suite"]
    assert all(row["summary"] for row in rows)
    assert "checkerboard" in innbench("list", "datasets").out


def test_text_is_listed_as_it_is(innbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "singular values within [smallest, largest]" in _in_a_line(innbench("list").out)
    reason = "SyntaxError: closing tag [/x] :warning: [red]of ``nothing``"
    broken = {"odd [/y] (theirs)": reason}
    monkeypatch.setattr(registry, "broken", lambda axis: broken if axis == "probe" else {})
    said = innbench("list", "probes")
    assert said.code == 0
    assert "odd [/y] (theirs)" in said.out
    assert reason in _in_a_line(said.out)


def test_what_has_no_version_is_listed_without_one(innbench: Command) -> None:
    assert "None" not in innbench("list", "suites").out


def test_summaries_are_plain_text(innbench: Command) -> None:
    said = innbench("list", "architectures", "--json").out
    assert "an inverse gain of momentum^-steps" in said
    assert "`" not in "".join(row["summary"] for row in json.loads(said))


def _in_a_line(text: str) -> str:
    return " ".join(text.split())


def test_schema_is_json(innbench: Command) -> None:
    assert json.loads(innbench("schema").out)["properties"].keys() >= {"grid", "training"}


def test_a_cell_that_raises_is_an_attempt_and_the_others_go_on(
    innbench: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = registry.entry(version=1)(_raise)
    tiny.write_text(tiny.read_text().replace("  - {name: sampling, samples: 16}", "  - sampling"))
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "sampling", broken)
        registry.get.cache_clear()
        said = innbench("run", str(tiny), "--inline")
    registry.get.cache_clear()
    assert said.code == 1
    assert "6 failed" in said.err
    assert said.err.count("Traceback") == 1
    assert "RuntimeError: the probe broke" in said.err
    (command,) = re.findall(r"next: innbench sql '(select .*)'", said.err)
    listed = json.loads(innbench("sql", command, "--json").out)
    assert [row["status"] for row in listed] == ["error"] * 6
    assert "tiny: stability" in said.out


def test_a_run_ranks_what_is_done_though_a_cell_failed(
    innbench: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = sampling.sampling
    made: list[None] = []

    def once_broken() -> Probe:
        made.append(None)
        return _raise() if len(made) == 1 else probe(samples=16)

    tiny.write_text(tiny.read_text().replace("  - {name: sampling, samples: 16}", "  - sampling"))
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "sampling", registry.entry(version=1)(once_broken))
        registry.get.cache_clear()
        said = innbench("run", str(tiny), "--inline")
    registry.get.cache_clear()
    assert said.code == 1
    assert "1 failed" in said.err
    assert "tiny: stability" in said.out
    assert "next: innbench run" in said.err


def _raise() -> NoReturn:
    raise RuntimeError("the probe broke")
