"""Compiled training steps, and a cache of them that survives a killed worker."""

import fcntl
import hashlib
import math
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

PAYS_FROM = 10_000
"""Steps that save more than their compilation takes, in all that was measured
(docs/decisions/compilation.md).

A number rather than a clock decides, for compiled results differ in their last bits."""

OPTIONS = {
    "fx_graph_cache": True,
    "compile_threads": 1,  # no pool of processes that would outlive a killed worker
    "cpp_cache_precompile_headers": False,  # these would lie outside of the program's folder
    "fallback_random": True,  # the numbers that the step as it is would draw
}

Step = Callable[..., tuple[Tensor, ...]]


class Compiler:
    """Compiles training steps; where that fails they run as they are.

    A step is traced once, backward pass included, and becomes one program of TorchInductor, the
    back end of torch.compile. Its first results are compared with those of the step as it is.

    Args:
        steps: How often a step will be taken; nothing is compiled below :data:`PAYS_FROM`.
        alone: Why a step cannot be one program, if it cannot: it is not compiled then.

    Attributes:
        programs: How many steps are compiled.
        seconds: Wall time of it, comparison included; what failed counts, too.
        note: Why a step was left as it is, in one sentence; empty where none was.
    """

    def __init__(self, steps: int, alone: str | None = None) -> None:
        self.programs, self.seconds, self.note = 0, 0.0, ""
        if alone:
            self.note = f"not compiled: {alone}"
        elif steps < PAYS_FROM:
            self.note = f"not compiled: it pays from {PAYS_FROM} steps on, and these are {steps}"
        self._wanted = not self.note

    def compile(self, step: Step, *arguments: Tensor) -> Step:
        """A program that does what ``step`` does, for arguments of these shapes.

        Args:
            step: Returns tensors and writes into tensors, but draws and remembers nothing else.
            arguments: Those of the first step.
        """
        if not self._wanted:
            return step
        begun = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own, of what it is built on
                program = _program(step, arguments)
        except Exception as error:  # of three compilers; the step itself is unharmed
            reason = next(iter(str(error).strip().split("\n")), "")
            self.note = f"not compiled: {type(error).__name__}: {reason}"
            program = step
        else:
            self.programs += 1
        self.seconds += time.perf_counter() - begun
        return program


@torch.no_grad()
def _program(step: Step, arguments: Sequence[Tensor]) -> Step:
    graph: GraphModule = make_fx(torch.enable_grad()(step))(*arguments)
    held = _held(graph)
    inputs: list[Any] = [*held, *arguments]
    with _cache(_folder(graph, inputs)):
        compiled = torch._inductor.compile(graph, inputs, options=OPTIONS)

        def program(*arguments: Tensor) -> tuple[Tensor, ...]:
            with torch.no_grad():
                found: tuple[Tensor, ...] = compiled(*held, *arguments)
            return found

        _compare(program, step, arguments, held)
    return program


def _held(graph: GraphModule) -> list[Tensor]:
    """The tensors that the graph refers to, made its first inputs.

    What it refers to lies where the optimizer changes it; as constants, values would become part
    of the program.
    """
    first = next(iter(graph.graph.nodes))
    held: dict[Any, tuple[Node, Tensor]] = {}
    for node in graph.graph.find_nodes(op="get_attr"):
        if node.target not in held:
            with graph.graph.inserting_before(first):
                name = f"held_{len(held)}"
                held[node.target] = graph.graph.placeholder(name), getattr(graph, node.target)
        node.replace_all_uses_with(held[node.target][0])
        graph.graph.erase_node(node)
    graph.recompile()
    return [tensor.detach() for _, tensor in held.values()]


def _compare(
    program: Step, step: Step, arguments: Sequence[Tensor], held: Sequence[Tensor]
) -> None:
    """Raise ``ArithmeticError`` if the program finds or writes anything else than the step."""
    results = []
    for one in (program, torch.enable_grad()(step)):
        found = one(*arguments)
        results.append([tensor.detach().clone() for tensor in (*found, *held)])
    for ours, theirs in zip(*results, strict=True):
        alike = (ours == theirs) | (ours.isnan() & theirs.isnan())
        if not (alike | ((ours - theirs).abs() <= _allowed(theirs))).all():
            raise ArithmeticError("the compiled step computes something else")


def _allowed(x: Tensor) -> Tensor:
    """√ε of the largest entry in each row: far above rounding, far below what is a wrong program's.

    A vector is one row; of integers, nothing is allowed.
    """
    if not x.is_floating_point():
        return torch.zeros_like(x)
    sizes = x.where(x.isfinite(), 0).abs().reshape(len(x) if x.ndim > 1 else 1, -1)
    largest = sizes.amax(1) if sizes.numel() else sizes.new_zeros(len(sizes))
    return largest.view(-1, *[1] * (x.ndim - 1)) * math.sqrt(torch.finfo(x.dtype).eps)


def _folder(graph: GraphModule, inputs: Sequence[Tensor]) -> Path:
    """The program's own folder in the cache of this user on this node."""
    layout: list[Any] = [(x.shape, x.stride(), x.dtype, x.device) for x in inputs]
    content = f"{torch.__version__}\n{torch.get_num_threads()}\n{layout}\n{graph.code}"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(content.encode()).hexdigest()[:32]
    return Path(base, "innbench", "compiled", platform.node(), name)


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Let torch.compile keep its files below ``folder``, which one process uses at a time.

    A process that is killed in mid-compilation leaves truncated files, which break those that
    find them. It also leaves a mark, and who finds the mark starts from nothing.
    """
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir  # noqa: PLC0415 - slow

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark, files = folder / "unfinished", folder / "files"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.exists():
            shutil.rmtree(files, ignore_errors=True)
        mark.touch()
        files.mkdir(exist_ok=True)
        with temporary_cache_dir(str(files)):
            yield
        mark.unlink()
