"""The networks of a pack, which answer one by one or as one."""

import copy
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from harness.bijections.base import Bijection
from harness.bijections.headed import flow_of
from harness.measuring.as_one import AsOne
from harness.measuring.lockstep import Result, result
from harness.precisions import PRECISIONS, PrecisionName, running
from harness.probes.subject import Question
from harness.training.batched import batched
from harness.training.stack import repeats_weights
from harness.training.vectorized import State, VectorizedBijection

Item = TypeVar("Item")

PAYS_TO = {"cpu": 2**13, "cuda": 2**20}
"""Bytes of a network's inputs up to which networks answer as one (docs/decisions/probes.md)."""
AT_ONCE = {"cpu": 2**18, "cuda": 2**22}
"""Bytes of inputs of all networks that answer as one."""


class Networks:
    """The trained networks of a pack, at any precision.

    Args:
        models: In evaluation mode; not changed. They differ in parameters and buffers alone. Where
            they have heads, it is their flows that answer, but for questions of the whole.
    """

    def __init__(self, models: Sequence[Bijection]) -> None:
        self._models, self._flows = models, [flow_of(model) for model in models]
        self._device = next((p.device.type for p in models[0].parameters()), "cpu")
        self._alone: dict[tuple[int, PrecisionName], Bijection] = {}
        self._together: dict[PrecisionName, tuple[Hashable, Bijection]] = {}
        # How several networks become one: the fastest way first, and what can do most last.
        self._ways: tuple[_Way, ...] = (batched, VectorizedBijection)
        if repeats_weights(self._flows[0]):
            self._ways = (VectorizedBijection,)
        self._failed: dict[Callable[..., Any], int] = defaultdict(int)

    def pays(self, question: Question[Any]) -> bool:
        """Whether several networks may answer it as one."""
        return isinstance(question, Question) and self._at_once(question) > 1

    def answer(self, questions: Mapping[int, Question[Any]]) -> dict[int, Result[Any]]:
        """Of each network's question; those alike are answered as one where that pays."""
        alike: dict[Hashable, list[int]] = defaultdict(list)
        answers: dict[int, Result[Any]] = {}
        for number, question in questions.items():
            if isinstance(question, Question):
                alike[_kind(question)].append(number)
            else:
                what = f"a probe awaits its subject's answers alone, not {question!r}"
                answers[number] = Result(error=TypeError(what))
        for numbers in alike.values():
            at_once = self._at_once(questions[numbers[0]])
            for begin in range(0, len(numbers), at_once):
                part = tuple(numbers[begin : begin + at_once])
                answers |= self._answer(part, [questions[number] for number in part])
        return answers

    def forget(self, number: int) -> None:
        """Let go of what was made for a network that is asked no more."""
        for precision in PRECISIONS:
            self._alone.pop((number, precision), None)

    def _at_once(self, question: Question[Any]) -> int:
        """How many networks answer it as one."""
        if question.with_head:
            return 1
        size = sum(tensor.nbytes for tensor in question.tensors)
        pays = 0 < size <= PAYS_TO.get(self._device, 0)
        return AT_ONCE[self._device] // size if pays else 1

    def _answer(
        self, numbers: tuple[int, ...], questions: Sequence[Question[Any]]
    ) -> dict[int, Result[Any]]:
        function = questions[0].function
        while len(numbers) > 1 and self._failed[function] < len(self._ways):
            way = self._ways[self._failed[function]]
            found = result(self._as_one, way, numbers, questions)
            if found.value is not None:
                return dict(zip(numbers, map(Result, found.value), strict=True))
            # It branches on data or does what cannot be vectorised, there was no memory for all
            # of them, or one of them is at fault: then that one fails by itself. It is not tried
            # again in this pack.
            self._failed[function] += 1
            del found  # whose error might hold memory that the next try needs
        return {
            number: result(self._by_itself, number, question)
            for number, question in zip(numbers, questions, strict=True)
        }

    def _by_itself(self, number: int, question: Question[Any]) -> Any:
        network = self._at(number, question.precision)
        network = network if question.with_head else flow_of(network)
        with running(question.precision, torch.device(self._device)):
            return question.function(network, *question.tensors)

    def _as_one(
        self, way: "_Way", numbers: tuple[int, ...], questions: Sequence[Question[Any]]
    ) -> list[Any]:
        first, size = questions[0], len(numbers)
        if len({len(tensor) for tensor in first.tensors}) > 1:
            raise ValueError("not every tensor has a row for each sample")
        columns = zip(*(question.tensors for question in questions), strict=True)
        tensors = [torch.cat(column) for column in columns]
        rows = len(tensors[0])
        network = AsOne(self._made(way, numbers, first.precision), rows)
        with running(first.precision, torch.device(self._device)):
            found = first.function(network, *tensors)
        leaves, structure = pytree.tree_flatten(found)
        if not leaves:
            raise ValueError("no tensor with a row for each sample")
        parts = zip(*(_apart(leaf, size, rows) for leaf in leaves), strict=True)
        return [pytree.tree_unflatten(list(part), structure) for part in parts]

    def _made(self, way: "_Way", numbers: tuple[int, ...], precision: PrecisionName) -> Bijection:
        """The networks as one; the latest in each precision is kept."""
        key = way, numbers
        if precision not in self._together or self._together[precision][0] != key:
            self._together.pop(precision, None)
            state = self._state(numbers, PRECISIONS[precision].dtype)
            made = way(flow_of(self._at(numbers[0], precision)), state, len(numbers))
            self._together[precision] = key, cast(Bijection, made)
        return self._together[precision][1]

    def _state(self, numbers: Sequence[int], dtype: torch.dtype) -> dict[str, Tensor]:
        named = [_state_of(self._flows[number]) for number in numbers]
        return {
            name: _rounded(torch.stack([one[name] for one in named]), dtype) for name in named[0]
        }

    def _at(self, number: int, precision: PrecisionName) -> Bijection:
        """A model in a precision; the weights are rounded to float32 first."""
        if (number, precision) not in self._alone:
            model = self._models[number]
            if precision != "float32" or not _is_float32(model):
                model = copy.deepcopy(model).to(torch.float32).to(PRECISIONS[precision].dtype)
            self._alone[number, precision] = model
        return self._alone[number, precision]


_Way = Callable[[Bijection, State, int], Any]


def _kind(question: Question[Any]) -> Hashable:
    """What questions that are answered as one have in common."""
    return (
        question.function,
        question.precision,
        question.with_head,
        *((t.shape, t.dtype) for t in question.tensors),
    )


def _state_of(flow: Bijection) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in flow.named_parameters()} | dict(flow.named_buffers())


def _is_float32(flow: Bijection) -> bool:
    floating = (one for one in _state_of(flow).values() if one.is_floating_point())
    return all(one.dtype == torch.float32 for one in floating)


def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(torch.float32).to(dtype) if x.is_floating_point() else x


def _apart(leaf: Any, size: int, samples: int) -> tuple[Tensor, ...]:
    """A tensor of all networks' samples, ``(S·B, …)``, as one of each network."""
    if not isinstance(leaf, Tensor) or len(leaf) != samples:
        raise ValueError("not a tensor with a row for each sample")
    return leaf.chunk(size)
