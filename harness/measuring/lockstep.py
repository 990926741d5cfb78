"""Coroutines side by side, each up to its next question."""

import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

Asked = TypeVar("Asked")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Result(Generic[Value]):
    """How a computation ended: with a value or an error.

    Attributes:
        value: What it gave; ``None`` if it failed.
        error: What it raised, if anything.
    """

    value: Value | None = None
    error: BaseException | None = None

    def unwrap(self) -> Value:
        """The value.

        Raises:
            BaseException: The error, if it failed.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


def result(function: Callable[..., Value], *arguments: Any) -> Result[Value]:
    """How the call ends; an exception, or a wish to leave the process, is an error."""
    try:
        return Result(function(*arguments))
    except (Exception, SystemExit) as error:
        return failure(error)


def failure(error: BaseException) -> Result[Any]:
    """An error whose frames no longer hold the tensors of what failed."""
    traceback.clear_frames(error.__traceback__)
    return Result(error=error)


@dataclass(frozen=True)
class Ended(Generic[Value]):
    """A coroutine that has ended.

    Attributes:
        number: Which one.
        result: How.
        seconds: Wall time: its own, and its share of what was answered at once.
    """

    number: int
    result: Result[Value]
    seconds: float


class _Run(Generic[Asked, Value]):
    """One of the coroutines: what it asks, or how it has ended."""

    def __init__(self, coroutine: Coroutine[Asked, Any, Value]) -> None:
        self._coroutine = coroutine
        self.question: Asked | None = None
        self.ended: Result[Value] | None = None
        self.seconds = 0.0

    def resume(self, answer: Result[Any]) -> None:
        """Run it up to its next question."""
        begun, gradients = time.perf_counter(), torch.is_grad_enabled()
        try:
            if answer.error is None:
                self.question = self._coroutine.send(answer.value)
            else:
                self.question = self._coroutine.throw(answer.error)
            if torch.is_grad_enabled() != gradients:
                # It would hold for all the others, and after them.
                self._coroutine.close()
                raise RuntimeError("no gradient mode may stand around an await")
        except StopIteration as stop:
            self.ended = Result(stop.value)
        except (Exception, SystemExit) as error:
            self.ended = failure(error)
        finally:
            torch.set_grad_enabled(gradients)
            self.seconds += time.perf_counter() - begun


def in_lockstep(
    coroutines: Sequence[Coroutine[Asked, Any, Value]],
    answer: Callable[[Mapping[int, Asked]], Mapping[int, Result[Any]]],
    waits: Callable[[Asked], bool] = lambda _: True,
) -> Iterator[Ended[Value]]:
    """Run coroutines to their ends, so that what they ask at the same time is answered at once.

    Args:
        coroutines: One that fails does not touch the others.
        answer: Of the questions that are open, by the coroutine's number. An error is raised
            where the question was asked.
        waits: Whether a question waits for those of the others. Where none does, each coroutine
            runs to its end before the next one begins.

    Yields:
        Each coroutine once, as it ends.
    """
    runs: dict[int, _Run[Asked, Value]] = {n: _Run(one) for n, one in enumerate(coroutines)}
    answers: Mapping[int, Result[Any]] = {number: Result() for number in runs}
    while answers:
        for number, given in answers.items():
            run = runs[number]
            run.resume(given)
            while run.ended is None and not waits(run.question):  # type: ignore[arg-type]
                run.resume(_answered(answer, {number: run})[number])
            if run.ended is not None:
                yield Ended(number, run.ended, run.seconds)
                del runs[number]
        answers = _answered(answer, runs)


def _answered(
    answer: Callable[[Mapping[int, Asked]], Mapping[int, Result[Any]]],
    runs: Mapping[int, _Run[Asked, Value]],
) -> Mapping[int, Result[Any]]:
    begun = time.perf_counter()
    found = answer({n: run.question for n, run in runs.items()}) if runs else {}  # type: ignore[misc]
    for run in runs.values():
        run.seconds += (time.perf_counter() - begun) / len(runs)
    return found
