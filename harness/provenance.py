"""Where a number came from: code, versions, device, data. No paths, no environment, no secrets."""

import functools
import json
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from harness import __version__
from harness.training.compilation import Compiler


@functools.cache
def _git() -> dict[str, str | bool | None]:
    """Commit and dirtiness of the checkout that this package runs from; nulls in an install."""
    unknown: dict[str, str | bool | None] = {"git_commit": None, "git_dirty": None}
    root, program = Path(__file__).parent.parent, shutil.which("git")
    if program is None or not (root / ".git").exists():
        return unknown
    answers = []
    for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        done = subprocess.run(  # noqa: S603 - a fixed command on our own checkout
            [program, "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return unknown
        answers.append(done.stdout.strip())
    return {"git_commit": answers[0], "git_dirty": bool(answers[1])}


@functools.cache
def _driver() -> str | None:
    """Version of the NVIDIA driver, or null where its tool is not at hand."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.split("\n")[0].strip() or None


def _device(device: torch.device) -> dict[str, str | None]:
    if device.type != "cuda":
        name = platform.processor() or platform.machine()
        return {"device": name, "cuda": None, "driver": None}
    name = torch.cuda.get_device_name(device)
    return {"device": name, "cuda": torch.version.cuda, "driver": _driver()}


def provenance(
    device: torch.device, data_digest: str, members: int, halved: str, compiler: Compiler | None
) -> str:
    """JSON of versions, device, driver, precision flags, host, git commit and data digest.

    Args:
        device: Where the cell was trained.
        data_digest: SHA-256 of the data.
        members: How many cells were trained at once.
        halved: Why no more, where a larger pack failed.
        compiler: What compiled their steps, if that was asked for.
    """
    return json.dumps(
        {
            "innbench": __version__,
            **_git(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device_type": device.type,
            **_device(device),
            "threads": torch.get_num_threads(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "platform": platform.platform(),
            "host": platform.node(),
            "data_sha256": data_digest,
            "pack_members": members,
            "pack_halved": halved,
            "compiled_programs": compiler.programs if compiler else 0,
            "compile_seconds": compiler.seconds if compiler else 0.0,
            "compile_note": compiler.note if compiler else "",
        },
        sort_keys=True,
    )
