"""Where things stand in a store: ``STORE/suite=<name>/cells`` and ``…/attempts``."""

import re
from pathlib import Path

from harness.errors import InputError

CELLS = "cells"
ATTEMPTS = "attempts"
SUFFIX = ".parquet"
# Hidden and without the suffix: no reader's glob can match a file that is still being written.
TEMPORARY = ".tmp-"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+,-]*")


def checked_name(what: str, name: str) -> str:
    """The name itself, if it can be the name of one file or folder.

    Raises:
        InputError: It holds a separator, a space, a glob character or starts with a dot or dash.
    """
    if not _NAME.fullmatch(name):
        allowed = "letters, digits and . _ - = + , are allowed, and no . - = + , at the start"
        raise InputError(f"{what} {name!r} cannot name a place in a store; {allowed}")
    return name


def checked_store(store: Path) -> Path:
    """The store itself, if DuckDB can be told its path.

    Raises:
        InputError: The path holds a glob character, which has no escape there.
    """
    found = sorted(set("*?[]{}\\") & set(str(store.absolute())))
    if found:
        held = " ".join(found)
        raise InputError(f"the store's path {store} holds {held}; * ? [ ] {{ }} \\ are not allowed")
    return store


def suite_folder(store: Path, suite: str) -> Path:
    """The folder of one suite."""
    return store / f"suite={checked_name('suite', suite)}"


def cells_folder(store: Path, suite: str) -> Path:
    """The folder of its committed cells."""
    return suite_folder(store, suite) / CELLS


def attempts_folder(store: Path, suite: str) -> Path:
    """The folder of its failed attempts."""
    return suite_folder(store, suite) / ATTEMPTS


def cell_file(store: Path, suite: str, cell_id: str) -> Path:
    """The file whose existence is the commit of a cell."""
    return cells_folder(store, suite) / (checked_name("cell", cell_id) + SUFFIX)


def suites(store: Path) -> list[str]:
    """Names of the suites that a store holds."""
    if not store.is_dir():
        return []
    return sorted(p.name.removeprefix("suite=") for p in store.glob("suite=*") if p.is_dir())


def require_store(store: Path) -> Path:
    """The store's absolute path.

    Raises:
        InputError: There is no such folder, or it holds no suite.
    """
    checked_store(store)
    make = "`innbench run SUITE` makes one (with --store for another place)"
    if not store.exists():
        raise InputError(f"there is no store at {store}; {make}")
    if not suites(store):
        what = "is a folder without results" if store.is_dir() else "is a file"
        raise InputError(f"{store} is not a store, it {what}; {make}")
    return store.resolve()
