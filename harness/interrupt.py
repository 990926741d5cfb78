"""Ctrl-C that is never lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted:
    """Whether Ctrl-C was pressed.

    A library under us may swallow the exception, or turn it into one of its own (Ray does both,
    depending on where it is hit). The mark stays.
    """

    def __init__(self) -> None:
        self.pressed = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was pressed and somebody swallowed it."""
        if self.pressed:
            raise KeyboardInterrupt


@contextmanager
def remembered_interrupt() -> Iterator[Interrupted]:
    """Within it Ctrl-C raises KeyboardInterrupt as ever, and is remembered.

    Whatever is raised after it was pressed leaves as KeyboardInterrupt. Outside the main thread,
    where Python delivers no signals, nothing changes.
    """
    state = Interrupted()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return

    def press(number: int, frame: FrameType | None) -> None:
        state.pressed = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield state
        state.check()
    except Exception:
        if state.pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
