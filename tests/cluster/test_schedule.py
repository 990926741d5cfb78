from typing import Any

import pytest

from harness.cluster.executor import Ended, Executor, InlineExecutor
from harness.cluster.schedule import ATTEMPTS, Finished, schedule


class Losing(InlineExecutor):
    """Loses each piece as often as told, at first without blame; counts what flies at once."""

    slots = 2
    window = 4

    def __init__(self, losses: dict[int, int], *, blameless: int) -> None:
        super().__init__(lambda number, attempt: (number, attempt))
        self.losses, self.blameless = losses, blameless
        self.flying = self.most = 0

    def submit(self, ticket: int, arguments: tuple[Any, ...]) -> None:
        self.flying += 1
        self.most = max(self.most, self.flying)
        super().submit(ticket, arguments)

    def wait(self) -> Ended:
        self.flying -= 1
        ended = super().wait()
        number, attempt = ended.result
        if attempt <= self.losses.get(number, 0):
            return Ended(ended.ticket, lost="it died", blameless=attempt <= self.blameless)
        return ended


def finished(work: list[tuple[Any, ...]], executor: Executor) -> list[Finished]:
    """The last try of each piece."""
    return [one for one in schedule(work, executor) if not one.again]


def test_every_piece_ends_once_and_flights_are_bounded() -> None:
    executor = Losing({}, blameless=0)
    ended = list(schedule([(n,) for n in range(20)], executor))
    assert sorted(one.number for one in ended) == list(range(20))
    assert all(one.result == (one.number, 1) for one in ended)
    assert executor.most == executor.window
    assert ended[-1].running == 0


def test_a_lost_piece_is_tried_again_and_then_given_up() -> None:
    tries = list(schedule([(0,), (1,), (2,)], Losing({0: 1, 2: 99}, blameless=0)))
    ended = [one for one in tries if not one.again]
    lost = [(one.number, one.attempt) for one in tries if one.lost]
    assert sorted(lost) == [(0, 1), *((2, n) for n in range(1, ATTEMPTS + 1))]
    by_number = {one.number: one for one in ended}
    assert len(ended) == 3
    assert by_number[0].result == (0, 2)
    assert by_number[1].attempt == 1
    assert by_number[2].attempt == ATTEMPTS
    assert by_number[2].lost == "it died"
    assert by_number[2].result is None


def test_a_lost_node_does_not_count() -> None:
    (ended,) = finished([(0,)], Losing({0: 7}, blameless=7))
    assert ended.result == (0, 8)
    # Nor does it use up a try of a piece that then takes its process down.
    (ended,) = finished([(0,)], Losing({0: 5 + ATTEMPTS - 1}, blameless=5))
    assert ended.result == (0, 5 + ATTEMPTS)


def test_inline_lets_an_exception_through() -> None:
    def work(attempt: int) -> None:
        raise KeyError(attempt)

    with pytest.raises(KeyError):
        list(schedule([()], InlineExecutor(work)))
