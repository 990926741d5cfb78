"""Coroutines side by side, each up to its next question."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """How a computation ended: with a value or an error.

    Attributes:
        value: What it gave; ``None`` if it failed.
        error: What it raised, if anything.
    """

    value: Result | None = None
    error: BaseException | None = None

    def unwrap(self) -> Result:
        """The value.

        Raises:
            BaseException: The error, if it failed.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


def outcome(function: Callable[..., Result], *arguments: Any) -> Outcome[Result]:
    """How the call ends; an exception, or a wish to leave the process, is an error."""
    try:
        return Outcome(function(*arguments))
    except (Exception, SystemExit) as error:
        return Outcome(error=error)


def in_lockstep(
    coroutines: Sequence[Coroutine[Asked, Any, Result]],
    answer: Callable[[Mapping[int, Asked]], Mapping[int, Outcome[Any]]],
) -> list[Outcome[Result]]:
    """Run coroutines to their ends, so that what they ask at the same time is answered at once.

    Args:
        coroutines: One that fails does not touch the others.
        answer: Of the questions that are open, by the coroutine's number. An error is raised
            where the question was asked.
    """
    ended: dict[int, Outcome[Result]] = {}
    answers: Mapping[int, Outcome[Any]] = {number: Outcome() for number in range(len(coroutines))}
    while answers:
        questions: dict[int, Asked] = {}
        for number, given in answers.items():
            one = coroutines[number]
            try:
                if given.error is None:
                    questions[number] = one.send(given.value)
                else:
                    questions[number] = one.throw(given.error)
            except StopIteration as stop:
                ended[number] = Outcome(stop.value)
            except (Exception, SystemExit) as error:
                ended[number] = Outcome(error=error)
        answers = answer(questions) if questions else {}
    return [ended[number] for number in range(len(coroutines))]
