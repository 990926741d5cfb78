"""The parameter ``mixing`` of an architecture: the linear maps between its blocks."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.registry import Nested

Mixing = Annotated[dict[str, Any], Nested("mixing", quiet=True)]


def mixed(
    mixing: Mapping[str, Any], channels: int, generator: torch.Generator
) -> tuple[Bijection, ...]:
    """What a mixing puts before a block over so many channels: one part, or no part for none."""
    if mixing["name"] == "none":
        return ()
    return (registry.build("mixing", mixing, channels, generator),)
