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
    """One try of a piece of work that ended.

    Attributes:
        number: The piece's place in what was scheduled.
        attempt: Which try, counted from 1.
        result: What it returned, or ``None`` where it was lost.
        lost: Why it was lost, or empty.
        blameless: Its node was lost: the work had no part in it.
        again: It was lost and will be tried again.
        running: How many pieces run now.
    """

    number: int
    attempt: int
    result: Any
    lost: str
    blameless: bool
    again: bool
    running: int


def schedule(work: Sequence[tuple[Any, ...]], executor: Executor) -> Iterator[Finished]:
    """Run every piece of work; yield each try as it ends, the last of a piece without ``again``.

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
        again = bool(ended.lost) and (ended.blameless or counted < ATTEMPTS)
        if again:
            queue.append((number, attempt + 1, counted if ended.blameless else counted + 1))
        running = min(executor.slots, len(flying) + len(queue))
        yield Finished(number, attempt, ended.result, ended.lost, ended.blameless, again, running)
