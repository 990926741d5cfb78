"""A suite file, by path or by name, as cells; or everything that is wrong with it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError, Problem, allowed_and_nearest
from harness.registry import IMPORT, search_in
from harness.resources import suites_folder
from harness.suite.cell import Cell
from harness.suite.document import read
from harness.suite.grid import expand
from harness.suite.model import Resources, Suite
from harness.suite.structure import structural_problems


@dataclass(frozen=True)
class LoadedSuite:
    """A suite without mistakes.

    Attributes:
        suite: What the file says.
        cells: Its cells, in the order of the file; no two are the same.
        resources: What one cell takes while it runs.
        path: The file.
    """

    suite: Suite
    cells: tuple[Cell, ...]
    resources: Resources
    path: Path

    @property
    def folders(self) -> tuple[str, ...]:
        """Where what it imports is looked for, here and on workers."""
        return search_folders(self.suite.model_dump(), self.path)


def load(path_or_name: str | os.PathLike[str], folder: Path | None = None) -> LoadedSuite:
    """Read and validate a suite.

    Args:
        path_or_name: A file, or the name of one under ``folder`` without its ``.yaml``.
        folder: Where named suites are; the ones that come with innbench if left out.

    Raises:
        InputError: With all problems of the file at once, in the order of its lines.
    """
    document = read(find(path_or_name, folder))
    search_in(*search_folders(document.content, Path(document.file)))
    problems = [*document.problems, *structural_problems(document)]
    cells = expand(document, problems)
    if problems:
        raise InputError(sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0))
    suite = Suite.model_validate(document.content)
    return LoadedSuite(suite, cells, suite.resources, Path(document.file))


def search_folders(content: object, file: Path) -> tuple[str, ...]:
    """Where the architectures that a suite imports may be, besides python's own path.

    The folder that one is in and the suite's own; none where the suite imports nothing.
    """
    grid = content.get("grid") if isinstance(content, Mapping) else None
    listed = grid.get("architectures") if isinstance(grid, Mapping) else None
    written = listed if isinstance(listed, list) else []
    imports = any(
        IMPORT in one if isinstance(one, Mapping) else isinstance(one, str) and ":" in one
        for one in written
    )
    return (str(Path.cwd()), str(file.parent.absolute())) if imports else ()


def find(path_or_name: str | os.PathLike[str], folder: Path | None = None) -> Path:
    """The file meant by a path or a name.

    Raises:
        InputError: There is none; the message lists the named suites and the nearest.
    """
    given = os.fspath(path_or_name)
    path = Path(given)
    if path.is_file() or isinstance(path_or_name, os.PathLike):
        return path
    named = suites(folder)
    if given in named:
        return named[given]
    if (given and path.exists()) or path.suffix in {".yaml", ".yml"}:
        return path
    raise InputError([Problem(f"no suite {given!r}; {allowed_and_nearest(given, named)}")])


def suites(folder: Path | None = None) -> dict[str, Path]:
    """The suites under a folder: name, such as ``paper/toys``, and file."""
    root = suites_folder() if folder is None else folder
    found = (file for file in sorted(root.rglob("*.yaml")) if file.is_file())
    return {file.relative_to(root).with_suffix("").as_posix(): file for file in found}
