"""Nothing downstream is imported upstream: which room may know which."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HARNESS = Path(__file__).parent.parent / "harness"
MAY_IMPORT = {
    "bijections": {"registry"},
    "adapters": {"bijections", "precisions", "registry"},
    "architectures": {"bijections", "registry"},
    "datasets": {"registry", "seeding"},
    "tasks": {"bijections", "datasets", "record", "registry"},
    "regularizers": {"bijections", "registry", "tasks"},
    "backpropagation": {"bijections"},
    "gradients": {"backpropagation", "bijections"},
    "probes": {
        *{"backpropagation", "bijections", "gradients", "precisions", "record", "registry"},
    },
    "registry": {"errors"},
    "suite": {"errors", "record", "registry", "resources"},
    "training": {
        *{"backpropagation", "bijections", "datasets", "record", "regularizers", "seeding"},
        *{"suite", "tasks"},
    },
    "memory": {"bijections", "datasets", "registry", "seeding", "suite", "tasks", "training"},
    "measuring": {"bijections", "precisions", "probes", "training"},
    "conformance": {
        *{"backpropagation", "bijections", "datasets", "gradients", "registry", "seeding"},
        *{"suite", "training"},
    },
    "diagnosis": {
        *{"gradients", "progress"},
        *{"adapters", "bijections", "datasets", "errors", "measuring", "precisions", "probes"},
        *{"record", "registry", "results", "seeding", "tasks"},
    },
    "cluster": {"errors"},
    "results": {"errors", "record", "resources"},
    "leaderboard": {"errors", "record", "resources", "results"},
}


def imported(file: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_has_its_rule() -> None:
    rooms = {path.parent.name for path in HARNESS.glob("*/__init__.py")}
    assert rooms == MAY_IMPORT.keys()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_knows_only_what_is_upstream(room: str) -> None:
    for file in (HARNESS / room).rglob("*.py"):
        for name in imported(file):
            if name.startswith("harness."):
                assert name.split(".")[1] in {room, *MAY_IMPORT[room]}, f"{file.name}: {name}"


@pytest.mark.parametrize(("library", "room"), [("ray", "cluster"), ("duckdb", "results")])
def test_a_library_is_known_in_one_room(library: str, room: str) -> None:
    users = {
        file.parent.name
        for file in HARNESS.rglob("*.py")
        if any(name.split(".")[0] == library for name in imported(file))
    }
    assert users - {"leaderboard"} == {room}
