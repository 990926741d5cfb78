"""Ctrl-C, and a scheduler's SIGTERM, that are never lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# SIGTERM as well: it is how schedulers end a job, and nothing may be left behind then either.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted:
    """Whether Ctrl-C was pressed.

    A library under us may swallow the exception, turn it into one of its own, or print its
    traceback from a place where it cannot be caught (Ray's start does all three). So at first
    Ctrl-C is only remembered, unless pressed twice; :meth:`deliver` raises it then and from there
    on. The mark stays.
    """

    def __init__(self) -> None:
        self.pressed = self.raising = False
        self.handlers: dict[int, Any] = {}

    def install(self) -> None:
        """Let signals come here; who had them before is kept."""
        for number in SIGNALS:
            before = signal.signal(number, self._press)
            self.handlers.setdefault(number, before)

    def _press(self, number: int, frame: FrameType | None) -> None:
        again, self.pressed = self.pressed, True
        if self.raising or again:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was pressed and somebody swallowed it."""
        if self.pressed:
            raise KeyboardInterrupt

    def deliver(self) -> None:
        """Raise what was remembered, and from now on at once.

        Called when the library has started: Ray sets handlers of its own for SIGTERM.
        """
        self.raising = True
        if self.handlers:
            self.install()
        self.check()


@contextmanager
def remembered_interrupt() -> Iterator[Interrupted]:
    """Within it Ctrl-C is remembered, and after :meth:`Interrupted.deliver` raised as ever.

    Whatever is raised after it was pressed leaves as KeyboardInterrupt. Outside the main thread,
    where Python delivers no signals, nothing changes.
    """
    state = Interrupted()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return

    state.install()
    try:
        yield state
        state.check()
    except Exception:
        if state.pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in state.handlers.items():
            signal.signal(number, handler)
