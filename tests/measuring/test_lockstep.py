"""Coroutines side by side."""

from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

from harness.measuring.lockstep import Outcome, in_lockstep, outcome


class Ask:
    def __init__(self, what: str) -> None:
        self.what = what

    def __await__(self) -> Any:
        return (yield self.what)


def run(
    *coroutines: Coroutine[str, Any, Any],
) -> tuple[list[Outcome[Any]], list[dict[int, str]]]:
    """How they end, and which questions were open at a time; an answer is the question twice."""
    rounds = []

    def answer(questions: Mapping[int, str]) -> dict[int, Outcome[str]]:
        rounds.append(dict(questions))
        return {
            number: Outcome(error=KeyError(what)) if what == "?" else Outcome(what * 2)
            for number, what in questions.items()
        }

    return in_lockstep(coroutines, answer), rounds


async def asks(*questions: str) -> list[str]:
    return [await Ask(question) for question in questions]


def test_what_is_asked_at_the_same_time_is_answered_at_once() -> None:
    ended, rounds = run(asks("a", "b"), asks("c"), asks(), asks("d", "e", "f"))
    assert [one.unwrap() for one in ended] == [["aa", "bb"], ["cc"], [], ["dd", "ee", "ff"]]
    assert rounds == [{0: "a", 1: "c", 3: "d"}, {0: "b", 3: "e"}, {3: "f"}]


def test_nothing_to_run() -> None:
    assert run() == ([], [])


async def fails(error: BaseException, *questions: str) -> list[str]:
    await asks(*questions)
    raise error


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_one_that_fails_touches_no_other(error: BaseException) -> None:
    ended, _ = run(asks("a", "b"), fails(error, "x"), fails(error), asks("c", "d"))
    assert ended[0].unwrap() == ["aa", "bb"]
    assert ended[3].unwrap() == ["cc", "dd"]
    assert ended[1].error is ended[2].error is error


async def forgives() -> str:
    try:
        first: str = await Ask("?")
    except KeyError:
        first = await Ask("again")
    return first


def test_an_answer_that_failed_is_raised_where_it_was_asked() -> None:
    ended, rounds = run(forgives(), asks("?", "never"), asks("a", "b"))
    assert ended[0].unwrap() == "againagain"
    assert isinstance(ended[1].error, KeyError)
    assert ended[2].unwrap() == ["aa", "bb"]
    assert rounds == [{0: "?", 1: "?", 2: "a"}, {0: "again", 2: "b"}]


def test_whoever_interrupts_is_obeyed() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(fails(KeyboardInterrupt()))


def test_an_outcome_is_a_value_or_an_error() -> None:
    assert outcome(int, "7").unwrap() == 7
    with pytest.raises(ValueError, match="seven"):
        outcome(int, "seven").unwrap()
