"""What may be asked of a network, and what each network answers by itself."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.measuring.networks import Networks
from harness.probes.jacobian import spectra
from harness.probes.subject import Question, Subject
from tests.measuring.asking import (
    AFFINE,
    SEEDS,
    Watched,
    ask,
    assert_close,
    each,
    flows,
    of_samples,
)
from tests.networks import gaussian
from tests.probing import LOSS, inputs_in_a_cube


def mean(flow: Bijection, x: Tensor) -> Any:
    with torch.no_grad():
        return flow(x)[0].mean(), float(flow(x)[1].mean())


def all_but_one(flow: Bijection, x: Tensor) -> Tensor:
    result: Tensor = flow(x)[0][1:]
    return result


@pytest.mark.parametrize("function", [mean, all_but_one])
def test_what_gives_no_row_a_sample_is_answered_one_by_one(function: Callable[..., Any]) -> None:
    pack, x = flows(AFFINE), gaussian(4, (2,)).float()
    assert_close(
        ask(Networks(pack), function, "float32", x), each(pack, function, "float32", x), 1e-6
    )


def positive(flow: Bijection, x: Tensor) -> Tensor:
    y: Tensor = flow(x)[0].detach()
    if y.isnan().any():
        raise ArithmeticError("NaN")
    return y


def test_the_network_at_fault_fails_alone() -> None:
    pack, x = flows(AFFINE), gaussian(4, (2,)).float()
    with torch.no_grad():
        next(pack[1].parameters()).fill_(torch.nan)
    questions = {number: Question(positive, "float32", (x,)) for number in range(3)}
    found = Networks(pack).answer(questions)
    assert isinstance(found[1].error, ArithmeticError)
    for number in (0, 2):
        torch.testing.assert_close(found[number].unwrap(), pack[number](x)[0].detach())


def bounds(flow: Bijection) -> Any:
    return flow.bounds()


def test_a_question_without_tensors_may_have_any_answer() -> None:
    pack = flows(AFFINE, torch.float64)
    assert ask(Networks(pack), bounds, "float64") == [
        flow.float().double().bounds() for flow in pack
    ]


def test_a_subject_asks_for_its_spectra_once() -> None:
    x = gaussian(6, (2,)).float()
    subject = Subject(inputs_in_a_cube({"test": x, "far": 2 * x}), LOSS)

    asked = subject.spectra(4)
    question = asked.send(None)
    assert (question.function, question.precision) == (spectra, "float64")
    assert question.tensors[0].shape == (8, 2)
    with pytest.raises(StopIteration):
        asked.send("answer")
    with pytest.raises(StopIteration) as again:
        subject.spectra(4).send(None)
    assert again.value.value == "answer"


@torch.no_grad()
def difference(flow: Bijection, x: Tensor) -> Tensor:
    """A finite difference, in one call of twice as many samples."""
    near, far = flow(torch.cat([x, x + 0.1]))[0].chunk(2)
    change: Tensor = far - near
    return change


@torch.no_grad()
def in_parts(flow: Bijection, x: Tensor) -> Tensor:
    return torch.cat([flow(part)[0] for part in torch.split(x, 2)])


@torch.no_grad()
def looks_at_weights(flow: Bijection, x: Tensor) -> Tensor:
    size = sum(parameter.square().sum() for parameter in flow.parameters())
    return size.expand(len(x))  # type: ignore[union-attr]


@torch.no_grad()
def looks_at_its_class(flow: Bijection, x: Tensor) -> Tensor:
    return torch.full_like(x, isinstance(flow, Chain))


@torch.no_grad()
def with_context(flow: Bijection, x: Tensor) -> Tensor:
    y: Tensor = flow(x, torch.ones(len(x), 1))[0]
    return y


@pytest.mark.parametrize(
    "function", [difference, in_parts, looks_at_weights, looks_at_its_class, with_context]
)
def test_whatever_else_is_done_with_a_network_is_done_with_each_by_itself(
    function: Callable[..., Any],
) -> None:
    pack, x = flows(AFFINE), gaussian(4, (2,)).float()
    networks = Watched(pack)
    ours = ask(networks, function, "float32", x)
    assert networks.alone == [function] * len(SEEDS)
    assert_close(ours, each(pack, function, "float32", x), 1e-6)


def test_a_tensor_without_a_row_a_sample_is_not_cut_into_parts() -> None:
    def mixed(flow: Bijection, x: Tensor, matrix: Tensor) -> Tensor:
        y: Tensor = flow(x)[0].detach() @ matrix.T
        return y

    pack, x, matrix = flows(AFFINE), gaussian(4, (2,)).float(), gaussian(3, (2,)).float()
    ours = ask(Networks(pack), mixed, "float32", x, matrix)
    assert_close(ours, each(pack, mixed, "float32", x, matrix), 1e-6)


def nothing(flow: Bijection, x: Tensor) -> dict[str, Tensor]:
    return {}


def test_an_answer_of_nothing_is_an_answer() -> None:
    assert ask(Networks(flows(AFFINE)), nothing, "float32", torch.ones(4, 2)) == [{}, {}, {}]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((of_samples, "float8", torch.ones(2, 2)), "float64, float32, tf32"),
        ((of_samples, "float32", 3.0), "tensors of samples, not 3.0"),
        ((of_samples, "float32", torch.ones(())), "tensors of samples"),
        (([], "float32", torch.ones(2, 2)), "unhashable"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        Subject(inputs_in_a_cube({}), LOSS).ask(*arguments)


def test_what_is_no_question_fails_its_asker_alone() -> None:
    networks = Networks(flows(AFFINE))
    question = Question(of_samples, "float32", (torch.ones(2, 2),))
    found = networks.answer({0: None, 1: question})  # type: ignore[dict-item]
    assert isinstance(found[0].error, TypeError)
    assert found[1].unwrap().shape == (2, 2)
