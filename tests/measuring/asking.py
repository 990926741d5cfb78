"""Networks of every architecture, asked as one and each by itself."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from harness.bijections.base import Bijection
from harness.measuring.networks import Networks
from harness.precisions import PrecisionName
from harness.probes.subject import Question
from tests.networks import cases, network

SEEDS = (0, 1, 2)
SIZES = {"sampling": "samples"}
CALLS: list[int] = []
"""How many samples each call of a function here was given."""


def flows(case: str, dtype: torch.dtype = torch.float32) -> list[Bijection]:
    return [network(case, seed, dtype)[0].eval() for seed in SEEDS]


def ask(
    networks: Networks, function: Callable[..., Any], precision: PrecisionName, *x: Tensor
) -> list[Any]:
    """The answers to the same question of all networks."""
    questions = {number: Question(function, precision, x) for number in range(len(SEEDS))}
    answers = networks.answer(questions)
    return [answers[number].unwrap() for number in range(len(SEEDS))]


def each(
    pack: Sequence[Bijection], function: Callable[..., Any], precision: PrecisionName, *x: Tensor
) -> list[Any]:
    return [
        Networks([flow]).answer({0: Question(function, precision, x)})[0].unwrap() for flow in pack
    ]


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    pairs = zip(pytree.tree_leaves(ours), pytree.tree_leaves(theirs), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(
            one, other, rtol=tolerance, atol=tolerance, equal_nan=True, check_dtype=True
        )


AFFINE = next(case for case in cases() if case.startswith("affine") and case.endswith("on 2"))


def of_samples(flow: Bijection, x: Tensor) -> Tensor:
    CALLS.append(len(x))
    y: Tensor = flow(x)[0].detach()
    return y


def calls(networks: Networks, *x: Tensor, function: Callable[..., Any] = of_samples) -> list[int]:
    """How many samples each call is given where network i is asked about x_i."""
    CALLS.clear()
    found = networks.answer({n: Question(function, "float32", (one,)) for n, one in enumerate(x)})
    for number, one in enumerate(x):
        expected = network(AFFINE, number, torch.float32)[0](one)[0].detach()
        torch.testing.assert_close(found[number].unwrap(), expected, rtol=1e-4, atol=1e-4)
    return CALLS.copy()


@torch.no_grad()
def root(flow: Bijection, y: Tensor) -> Any:
    CALLS.append(len(y))
    return flow.inverse_with_convergence(y)


class Watched(Networks):
    """Keeps which functions of tensors were answered by a network alone."""

    def __init__(self, flows: Sequence[Bijection]) -> None:
        super().__init__(flows)
        self.alone: list[Callable[..., Any]] = []

    def _by_itself(self, number: int, question: Question[Any]) -> Any:
        if question.tensors:
            self.alone.append(question.function)
        return super()._by_itself(number, question)
