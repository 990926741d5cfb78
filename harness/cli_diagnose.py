"""The verb ``innbench diagnose``."""

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli_output import JsonOption, say, suggest


class Device(StrEnum):
    """Where a network is diagnosed."""

    CPU = "cpu"
    CUDA = "cuda"


def diagnose(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="module:factory, or an architecture.")
    ],
    data: Annotated[
        str | None,
        typer.Option(help="Inputs: file.npy, file.parquet or a dataset; else its own samples."),
    ] = None,
    shape: Annotated[
        str | None, typer.Option(help="Of one input, if nothing else says it: 2, or 1,8,8.")
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="Inputs of each set, at most.")] = 64,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the layer profile: file.svg, .png or .pdf.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where it runs.")] = Device.CPU,
    as_json: JsonOption = False,
) -> None:
    """Say whether a network is still invertible, where it breaks, and what helps."""
    from harness.checking import parsed  # noqa: PLC0415 - imports torch
    from harness.diagnosis import picture as drawing  # noqa: PLC0415
    from harness.diagnosis.diagnose import diagnose as run  # noqa: PLC0415
    from harness.diagnosis.report import as_plain, as_text  # noqa: PLC0415

    target = None if picture is None else drawing.checked(picture)
    wanted = None if shape is None else parsed(shape)
    diagnosis = run(name, data, wanted, points, device.value)
    if target is not None:
        drawing.draw(diagnosis.found, name, target)
    if as_json:
        say(json.dumps(as_plain(diagnosis), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        say(as_text(diagnosis))
    suggest(*_next(name, data, picture))


def _next(name: str, data: str | None, picture: Path | None) -> list[str]:
    command = f"innbench diagnose {shlex.quote(name)}"
    command += f" --data {shlex.quote(data)}" if data else " --data FILE.npy"
    if data is None:
        return [command]
    return [f"{command} --json" if picture else f"{command} --picture layers.svg"]
