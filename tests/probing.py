"""A probe of one network."""

import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.measuring.lockstep import in_lockstep
from harness.measuring.networks import Networks
from harness.probes.subject import Inputs, Probe, Subject
from harness.record import Measurement
from harness.registry import Choice
from harness.tasks.density import Density

LOSS = Density().loss

CHEAP: dict[str, dict[str, object]] = {
    "attack": {"steps": 1, "norms": ["l2"]},
    "certificates": {"starts": 1, "steps": 0},
    "normalization": {"evaluations": 4096, "samples": 4},
    "sampling": {"samples": 4},  # log-dets of images may be exact here, one by one
    "worst_point": {"starts": 1, "steps": 1},
}
"""Of probes, settings that cost less than the defaults."""


def inputs_in_a_cube(sets: dict[str, Tensor], radius: float = 1.0, step: int = 0) -> Inputs:
    """Inputs for a probe, of which training data had all entries within ± the radius."""
    shape = next(iter(sets.values())).shape[1:] if sets else (2,)
    return Inputs(sets, torch.full(shape, -radius), torch.full(shape, radius), step)


def probed(
    probe: Choice, flow: Bijection, inputs: Inputs, generator: torch.Generator
) -> list[Measurement]:
    run: Probe = registry.build("probe", probe)
    (ended,) = in_lockstep([run(Subject(inputs, LOSS), generator)], Networks([flow]).answer)
    return ended.result.unwrap()
