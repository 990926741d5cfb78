import os
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.suite import load, suites
from tests.suite.suite_text import SMALL, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "toys.yaml").write_text(SMALL.replace("small", "toys"))
    (tmp_path / "quickstart.yaml").write_text(SMALL.replace("small", "quickstart"))
    (tmp_path / "notes.txt").write_text("not a suite")
    return tmp_path


def test_suites_are_found_by_name(folder: Path) -> None:
    assert list(suites(folder)) == ["paper/toys", "quickstart"]
    found = load("paper/toys", folder)
    assert found.suite.name == "toys"
    assert found.path == folder / "paper" / "toys.yaml"


def test_suites_are_found_by_path(folder: Path) -> None:
    path = folder / "quickstart.yaml"
    assert load(path).path == path
    assert load(str(path)).path == path


def test_a_file_here_goes_before_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = folder / "here"
    here.mkdir()
    (here / "quickstart").write_text(SMALL.replace("small", "mine"))
    monkeypatch.chdir(here)
    assert load("quickstart", folder).suite.name == "mine"


def test_a_name_is_not_hidden_by_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = folder / "here"
    (here / "quickstart").mkdir(parents=True)
    monkeypatch.chdir(here)
    assert load("quickstart", folder).suite.name == "quickstart"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("quikstart", "no suite 'quikstart'; allowed: paper/toys, quickstart; did you mean 'quick"),
        ("zzz", "no suite 'zzz'; allowed: paper/toys, quickstart"),
        ("../quickstart", "no suite '../quickstart'; allowed"),
        ("", "no suite ''; allowed"),
        ("a\x00b", "no suite 'a\\x00b'; allowed"),
        ("absent.yaml", "absent.yaml: cannot be read: no such file"),
    ],
)
def test_a_suite_that_is_not_there(folder: Path, given: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load(given, folder)
    assert str(caught.value).startswith(said)


def test_a_folder_is_no_suite(folder: Path) -> None:
    with pytest.raises(InputError, match="is a folder, not a suite file"):
        load(f"{folder}{os.sep}paper", folder)


def test_the_ones_that_ship_are_found_without_a_folder() -> None:
    assert "quickstart" in suites()
    assert load("quickstart").suite.name == "quickstart"


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    assert load(path) == load(path)
