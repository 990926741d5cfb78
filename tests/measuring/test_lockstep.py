"""Coroutines side by side."""

import gc
import time
import weakref
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest
import torch

from harness.measuring.lockstep import Result, in_lockstep, result


class Ask:
    def __init__(self, what: str) -> None:
        self.what = what

    def __await__(self) -> Any:
        return (yield self.what)


def run(
    *coroutines: Coroutine[str, Any, Any],
) -> tuple[list[Result[Any]], list[dict[int, str]]]:
    """How they end, and which questions were open at a time; an answer is the question twice."""
    rounds = []

    def answer(questions: Mapping[int, str]) -> dict[int, Result[str]]:
        rounds.append(dict(questions))
        return {
            number: Result(error=KeyError(what)) if what == "?" else Result(what * 2)
            for number, what in questions.items()
        }

    ended = sorted(in_lockstep(coroutines, answer), key=lambda one: one.number)
    return [one.result for one in ended], rounds


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


def test_a_result_is_a_value_or_an_error() -> None:
    assert result(int, "7").unwrap() == 7
    with pytest.raises(ValueError, match="seven"):
        result(int, "seven").unwrap()


def test_what_does_not_wait_runs_to_its_end_before_the_next_begins() -> None:
    rounds = []

    def answer(questions: Mapping[int, str]) -> dict[int, Result[str]]:
        rounds.append(dict(questions))
        return {number: Result(what * 2) for number, what in questions.items()}

    def runs() -> list[Coroutine[str, Any, Any]]:
        return [asks("a", "B", "c"), asks("d"), asks("e", "B")]

    alone = in_lockstep(runs(), answer, lambda _: False)
    assert next(alone).result.unwrap() == ["aa", "BB", "cc"]
    assert rounds == [{0: "a"}, {0: "B"}, {0: "c"}]
    assert [one.number for one in alone] == [1, 2]
    rounds.clear()
    some = [one.number for one in in_lockstep(runs(), answer, str.isupper)]
    assert some == [1, 0, 2]
    assert rounds == [{0: "a"}, {1: "d"}, {2: "e"}, {0: "B", 2: "B"}, {0: "c"}]


def test_what_is_answered_at_once_is_shared_in_time() -> None:
    def answer(questions: Mapping[int, str]) -> dict[int, Result[str]]:
        time.sleep(0.8)
        return {number: Result(what) for number, what in questions.items()}

    async def slow() -> None:
        await Ask("a")
        time.sleep(0.3)

    ended = {one.number: one for one in in_lockstep([slow(), asks("b")], answer)}
    assert ended[0].seconds == pytest.approx(0.7, abs=0.25)
    assert ended[1].seconds == pytest.approx(0.4, abs=0.25)


def test_no_gradient_mode_stands_around_an_await() -> None:
    async def careless() -> str:
        with torch.no_grad():
            answer: str = await Ask("a")
        return answer

    async def checks() -> bool:
        await Ask("b")
        return torch.is_grad_enabled()

    async def forgets() -> str:
        torch.set_grad_enabled(False)
        return "a"

    ended, _ = run(careless(), forgets(), checks())
    assert isinstance(ended[0].error, RuntimeError)
    assert ended[1].unwrap() == "a"
    assert ended[2].unwrap()
    assert torch.is_grad_enabled()


class Large:
    """Stands for a tensor."""


def test_an_error_holds_nothing_of_what_failed() -> None:
    seen = []

    async def fails_with_much() -> None:
        much = Large()
        seen.append(weakref.ref(much))
        raise MemoryError

    def fails() -> None:
        much = Large()
        seen.append(weakref.ref(much))
        raise MemoryError

    errors = [run(fails_with_much())[0][0].error, result(fails).error]
    assert all(isinstance(error, MemoryError) for error in errors)
    gc.collect()
    assert [reference() for reference in seen] == [None, None]
