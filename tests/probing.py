"""A probe of one network."""

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.measuring.lockstep import in_lockstep
from harness.measuring.networks import Networks
from harness.probes.subject import Inputs, Probe, Subject
from harness.record import Measurement
from harness.registry import Choice


def probed(
    probe: Choice, flow: Bijection, inputs: Inputs, generator: torch.Generator
) -> list[Measurement]:
    run: Probe = registry.build("probe", probe)
    (ended,) = in_lockstep([run(Subject(inputs), generator)], Networks([flow]).answer)
    return ended.result.unwrap()
