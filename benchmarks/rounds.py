"""Rounds in turn: what is compared is timed within the same round, in an order that changes."""

import time
from collections.abc import Callable, Mapping

from benchmarks.progress import say


def order(count: int, number: int) -> list[int]:
    """Who is when in a round: rotated by one from round to round."""
    return [(number + place) % count for place in range(count)]


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def rounds(
    title: str, works: Mapping[str, Callable[[], object]], count: int
) -> list[dict[str, float]]:
    """Seconds of each work in each round, after a round that does not count."""
    names = list(works)
    times: list[dict[str, float]] = []
    for number in range(-1, count):
        taken = {names[k]: seconds(works[names[k]]) for k in order(len(names), max(number, 0))}
        if number < 0:
            say(f"{title}: warm, {sum(taken.values()):.0f} s a round")
        else:
            times.append(taken)
            say(f"{title}: round {number + 1} of {count}")
    return times
