"""Precisions: what a device has, and what runs inside them."""

import pytest
import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.measuring.networks import Networks
from harness.precisions import PRECISIONS, PrecisionName, UnsupportedError, available, running
from harness.probes.subject import Question
from harness.seeding import generator

CPU = torch.device("cpu")


@torch.no_grad()
def back(network: Bijection, y: Tensor) -> Tensor:
    return network.inverse(y)[0]


def test_a_processor_has_all_but_tf32() -> None:
    assert available(CPU) == ("float64", "float32", "bfloat16", "float16")
    with pytest.raises(UnsupportedError, match="cpu has no tf32"), running("tf32", CPU):
        pass


@pytest.mark.parametrize("precision", available(CPU))
def test_a_network_answers_in_the_precision_asked(precision: PrecisionName) -> None:
    dtype = PRECISIONS[precision].dtype
    question = Question(back, precision, (torch.ones(3, 2, dtype=dtype),))
    answer = Networks([ActNorm(2)]).answer({0: question})[0].unwrap()
    assert answer.dtype == dtype
    assert (answer == 1).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_has_no_kernel_is_unsupported_and_other_errors_are_not(
    precision: PrecisionName,
) -> None:
    y = torch.ones(3, 2, dtype=PRECISIONS[precision].dtype)
    flow = LULinear(2, generator(0, "lu"))
    answer = Networks([flow]).answer({0: Question(back, precision, (y,))})[0]
    assert isinstance(answer.error, UnsupportedError)
    wrong = Networks([flow]).answer({0: Question(back, precision, (y[:, :1],))})[0]
    assert isinstance(wrong.error, ValueError)
    with pytest.raises(RuntimeError, match="shapes"), running(precision, CPU):
        y @ y
