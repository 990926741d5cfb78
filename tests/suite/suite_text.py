"""Suites written on the spot, for the tests beside this file."""

import textwrap
from pathlib import Path

from harness.errors import InputError
from harness.suite import LoadedSuite, load

SMALL = """
name: small
grid:
  architectures: [additive]
  datasets: [checkerboard]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "suite.yaml"
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def loaded(folder: Path, text: str) -> LoadedSuite:
    return load(written(folder, text))


def mistakes(folder: Path, text: str) -> list[str]:
    """What loading says is wrong, line by line, without the folder."""
    path = written(folder, text)
    try:
        load(path)
    except InputError as error:
        return str(error).replace(str(path), "suite.yaml").split("\n")
    return []
