"""Live progress of a verb: a bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

PLAIN_LINES = 40
"""About how many lines a sweep prints where there is no terminal."""


class SweepProgress:
    """Counts of done and failed cells and running packs, the expected time left, the last result.

    Args:
        console: Where to print; a bar if it is a terminal.
        total: How many cells there are to run.
    """

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.done = self.failed = self.running = 0
        self._begun = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=console,
            )
            self._task = self._bar.add_task(self._counts(), total=total)

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        if self._bar:
            self._bar.stop()

    def update(self, *, ok: bool, running: int, last: str) -> None:
        """One more cell ended; ``last`` says which and how."""
        self.done += ok
        self.failed += not ok
        self.running = running
        if self._bar:
            self._bar.update(self._task, advance=1, description=f"{self._counts()} · {last}")
            return
        ended = self.done + self.failed
        if not ok or ended == self.total or ended % max(1, self.total // PLAIN_LINES) == 0:
            self.say(f"{self._counts()} · {last}")

    def say(self, text: str) -> None:
        """Print something beside the progress."""
        (self._bar.console if self._bar else self.console).print(
            text, highlight=False, markup=False, soft_wrap=True
        )

    def _counts(self) -> str:
        ended = self.done + self.failed
        text = (
            f"{self.done} done, {self.failed} failed of {self.total}, {self.running} packs running"
        )
        if 0 < ended < self.total:
            left = (time.monotonic() - self._begun) / ended * (self.total - ended)
            text += f", {duration(left)} left"
        return text


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class StepProgress:
    """Steps one after the other: a bar that goes away on a terminal, a line for each elsewhere.

    Args:
        console: Where to print.
        total: How many steps there are.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._ended = console, total, 0
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it away."""
        self._bar.stop()

    def begin(self, title: str) -> None:
        """A step begins."""
        self._bar.update(self._task, completed=self._ended, description=title)

    def end(self, said: str) -> None:
        """It has ended, and how."""
        self._ended += 1
        if not self._console.is_terminal:
            text = f"{self._ended} of {self._total} · {said}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
