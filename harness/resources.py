"""Where the data that travels with the code stands: in a wheel in the package, else beside it."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def sql_folder() -> Path:
    """The folder of ``views`` and ``leaderboards``."""
    return _folder("sql", "analysis/sql")


def suites_folder() -> Path:
    """The folder of the suites that ship with innbench."""
    return _folder("suites", "suites")


def _folder(in_wheel: str, in_checkout: str) -> Path:
    shipped = _PACKAGE / "_data" / in_wheel
    return shipped if shipped.is_dir() else _PACKAGE.parent / in_checkout
