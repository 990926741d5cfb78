"""Probes that a stranger might write."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.probes.subject import Probe, Subject
from harness.record import Measurement
from harness.registry import entry

COUNTED: Iterator[int] = iter(range(1000))


async def _third_of_all(subject: Subject) -> list[Measurement]:
    if next(COUNTED) % 5 == 2:
        raise ArithmeticError("the third of five")
    return []


@entry(version=1)
def fails_once() -> Probe:
    """Raises in the third cell of five."""

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        await subject.ask(_nothing, "float32", subject.inputs.sets["test"][:4])
        return await _third_of_all(subject)

    return probe


def _nothing(network: Bijection, x: Tensor) -> dict[str, Tensor]:
    return {}


@entry(version=1)
def waits_for_something_else() -> Probe:
    """Awaits what is no answer."""

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        await asyncio.sleep(0)
        return []

    return probe


@entry(version=1)
def not_async() -> Probe:
    """Returns its measurements as they are."""
    return lambda subject, generator: []  # type: ignore[return-value]


@entry(version=1)
def dies(*, store: str) -> Probe:
    """Ends its process once two cells are in the store."""

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        if len(list(Path(store).rglob("*.parquet"))) == 2:
            os._exit(9)
        return []

    return probe


CLOCK = [0.0]
"""Seconds that a test's clock is ahead of the machine's."""


@entry(version=1)
def takes_its_time() -> Probe:
    """A hundred seconds of a test's clock."""

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        CLOCK[0] += 100
        return []

    return probe


ASKED: list[int] = []
"""The steps at which the probe below was asked."""


@entry(version=1)
def fails_at(*, step: int, error: str = "ArithmeticError") -> Probe:
    """Raises after so many steps, in every second cell of a pack."""

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        now = subject.inputs.step
        ASKED.append(now)
        if now == step and ASKED.count(now) % 2:
            kinds = {"ArithmeticError": ArithmeticError, "out of memory": torch.OutOfMemoryError}
            raise kinds[error](f"after {now} steps")
        return [Measurement.of("fails_at", "one", "none", "float64", 1.0, 0, now)]

    return probe
