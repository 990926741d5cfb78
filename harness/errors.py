"""What a person did that cannot work, said so that they can mend it."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake in what was given.

    Attributes:
        message: One sentence: what is wrong, what is allowed, the nearest match.
        key: Path of the offending value, outermost first, such as ``("grid", "seeds", 0)``.
        file: The file it stands in, if it stands in one.
        line: Its line there, counted from 1.
    """

    message: str
    key: Key = ()
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        """``file:line: key: message``, with what is unknown left out."""
        place = self.file or ""
        if self.file and self.line is not None:
            place += f":{self.line}"
        parts = [place, dotted(self.key), self.message]
        return ": ".join(part for part in parts if part)


class InputError(Exception):
    """Everything wrong with one input, found before anything ran; the command exits with 2."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem(problems)]
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(key: Key) -> str:
    """``("grid", "seeds", 0)`` as ``grid.seeds[0]``."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def allowed_and_nearest(given: str, allowed: Iterable[str]) -> str:
    """``allowed: a, b, c; did you mean 'b'?``, the question only where a name is near."""
    names = sorted(allowed)
    text = f"allowed: {', '.join(names)}" if names else "nothing is allowed here"
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f"{text}; did you mean {near[0]!r}?" if near else text
