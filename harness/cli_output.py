"""What the verbs of the command share: how they print, and ``--json``."""

import sys
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


def say(text: str) -> None:
    """Print what was asked for."""
    sys.stdout.write(text)


def suggest(*commands: str) -> None:
    """Print the next useful commands, apart from the output that a program may read."""
    for command in commands:
        print(f"next: {command}", file=sys.stderr)  # noqa: T201
