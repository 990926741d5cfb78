"""Keep an executor busy, bounded in flight, and try again what was lost with its process."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.cluster.executor import Executor

ATTEMPTS = 3
"""How often work that takes its process down is tried; a lost node does not count."""


@dataclass(frozen=True)
class Finished:
    """One piece of work that will not run again.

    Attributes:
        number: Its place in what was scheduled.
        attempt: The try that it ended with, counted from 1.
        result: What it returned, or ``None`` where every attempt was lost.
        lost: Why the last attempt was lost, or empty.
        running: How many pieces run now.
    """

    number: int
    attempt: int
    result: Any
    lost: str
    running: int


def schedule(work: Sequence[tuple[Any, ...]], executor: Executor) -> Iterator[Finished]:
    """Run every piece of work; yield each as it ends.

    Args:
        work: Arguments of each piece; the number of the attempt is added as the last one.
        executor: Where it runs; started by the caller.
    """
    queue = deque((number, 1, 1) for number in range(len(work)))
    flying: dict[int, tuple[int, int, int]] = {}
    ticket = 0
    while queue or flying:
        while queue and len(flying) < executor.window:
            number, attempt, counted = queue.popleft()
            executor.submit(ticket, (*work[number], attempt))
            flying[ticket] = (number, attempt, counted)
            ticket += 1
        ended = executor.wait()
        number, attempt, counted = flying.pop(ended.ticket)
        if ended.lost and (ended.blameless or counted < ATTEMPTS):
            queue.append((number, attempt + 1, counted if ended.blameless else counted + 1))
            continue
        running = min(executor.slots, len(flying) + len(queue))
        yield Finished(number, attempt, ended.result, ended.lost, running)
