"""Can networks run as one program, as declared?"""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.conformance.candidate import Candidate
from harness.conformance.inverse import rounding
from harness.conformance.jacobians import linearise
from harness.conformance.row import Row
from harness.registry.entry import Direction
from harness.training.stack import Stack
from harness.training.vectorized import vectorize

Result = tuple[Tensor, Tensor]
Function = Callable[[Bijection, Tensor], Result]


def _forward(flow: Bijection, x: Tensor) -> Result:
    value, log_det = flow(x)
    return value, log_det


def _inverse(flow: Bijection, y: Tensor) -> Result:
    return flow.inverse(y)


def packability(candidate: Candidate, x: Tensor) -> list[Row]:
    """Two networks as one, by ``torch.vmap`` and as packs run them, against each alone."""
    flows = [candidate.perturbed(seed) for seed in (0, 1)]
    if not list(flows[0].parameters()):
        return [Row.at_most("packs", 0, 0, "there are no weights to stack")]
    points = [linearise(flow, x) for flow in flows]
    allowed = 1e-9 + max(float(rounding(point, x.dtype).max()) for point in points)
    directions: dict[Direction, tuple[Function, Tensor]] = {
        "forward": (_forward, torch.stack([x, x])),
        "inverse": (_inverse, torch.stack([point.y for point in points])),
    }
    return [
        Row.at_most(f"packs, {name}", 0, 0, "declared to branch on data: runs one by one")
        if name in candidate.branches
        else _as_one(name, flows, function, given, allowed, candidate.branches)
        for name, (function, given) in directions.items()
    ]


def _as_one(
    direction: Direction,
    flows: Sequence[Bijection],
    function: Function,
    given: Tensor,
    allowed: float,
    declared: Sequence[Direction],
) -> Row:
    check = f"packs, {direction}"
    states = [dict(flow.named_parameters()) | dict(flow.named_buffers()) for flow in flows]
    stacked = {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}
    with torch.no_grad():
        alone = [function(flow, one) for flow, one in zip(flows, given, strict=True)]
        try:
            together = {
                "torch.vmap": vectorize(flows[0], stacked, function, given),
                "a pack": Stack(flows).run(function, given),
            }
        except Exception as error:
            wanted = tuple(one for one in ("forward", "inverse") if one in (*declared, direction))
            detail = (
                f"two networks cannot run as one, and branches=({direction!r},) is not declared: "
                f"{type(error).__name__}: {_usable(error)}; if it must branch on data, mark the "
                f"factory @entry(version=1, branches={_quoted(wanted)}), and they run one by one"
            )
            return Row(check, float("nan"), allowed, passed=False, detail=detail)
    off = {name: _distance(alone, found) for name, found in together.items()}
    worst = max(off, key=lambda name: off[name])
    detail = f"as one, by {worst}, they differ by {off[worst]:.2g} from each alone"
    return Row.at_most(check, off[worst], allowed, detail)


def _usable(error: Exception) -> str:
    """What PyTorch says of the candidate, without what it says of itself and its issue tracker."""
    first = str(error).strip().split("\n")[0].removeprefix("vmap: ")
    told = re.split(r"(?<=\.)\s+|,\s+(?=please)", first)
    kept = [one for one in told if not re.search(r"https?:|\bplease\b|We don't support", one, re.I)]
    return " ".join(kept or told[:1]).rstrip(".")


def _quoted(directions: Sequence[str]) -> str:
    """``("inverse",)``, as it is written in a factory's file."""
    return "(" + ", ".join(f'"{one}"' for one in directions) + ("," * (len(directions) == 1)) + ")"


def _distance(alone: Sequence[Result], together: Result) -> float:
    columns = zip(zip(*alone, strict=True), together, strict=True)
    off = [
        ((torch.stack(ours) - theirs).abs() / (1 + torch.stack(ours).abs())).max()
        for ours, theirs in columns
    ]
    return float(torch.stack(off).nan_to_num(torch.inf).max())
