"""What can run packs of work: the interface, and the executor within this process."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

Work = Callable[..., Any]


class ExecutorDiedError(Exception):
    """The executor itself is gone; no work is to blame."""


@dataclass(frozen=True)
class Ended:
    """One submitted piece of work that ended.

    Attributes:
        ticket: What :meth:`Executor.submit` was given.
        result: What the work returned, if it returned.
        lost: Why it did not return, if its process or node died; else empty.
        blameless: The node was lost or preempted: the work had no part in it.
    """

    ticket: int
    result: Any = None
    lost: str = ""
    blameless: bool = False


class Executor(Protocol):
    """Runs submitted work somewhere; knows nothing of what the work is.

    Attributes:
        slots: How many pieces can run at a time.
        beside: How many pieces can run at a time on one machine, so that each has its share.
        window: How many should be submitted at a time, so that no slot waits.
        device: What the work may use there: ``cpu`` or ``cuda``.
    """

    slots: int
    beside: int
    window: int
    device: str

    def submit(self, ticket: int, arguments: tuple[Any, ...]) -> None:
        """Hand over one piece of work."""

    def wait(self) -> Ended:
        """Block until a submitted piece ends."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and end what still runs."""


class InlineExecutor:
    """Runs work in this process, one piece after the other: for debugging and for tests."""

    slots = beside = window = 1

    def __init__(self, work: Work, device: str = "cpu") -> None:
        self._work, self.device = work, device
        self._queue: deque[tuple[int, tuple[Any, ...]]] = deque()

    def submit(self, ticket: int, arguments: tuple[Any, ...]) -> None:
        """Queue it; it runs in :meth:`wait`."""
        self._queue.append((ticket, arguments))

    def wait(self) -> Ended:
        """Run the oldest; what it raises passes through."""
        ticket, arguments = self._queue.popleft()
        return Ended(ticket, self._work(*arguments))

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to stop."""
