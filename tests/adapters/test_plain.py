"""One's own modules and functions as bijections, and samples that fail by themselves."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.adapters.adapt import adapted
from harness.adapters.failures import Failure
from harness.adapters.foreign import failures_of
from harness.bijections.chain import Chain
from harness.precisions import UnsupportedError
from tests.networks import gaussian


class Scaled(nn.Module):
    """``y = w x``, its matrix no parameter and no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([0.5, -0.3]))
        self.turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])

    def forward(self, x: Tensor) -> Any:
        return (x * self.log_scale.exp()) @ self.turn

    def inverse(self, y: Tensor) -> Any:
        return (y @ self.turn.T) * (-self.log_scale).exp()


class Told(Scaled):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), self.log_scale.sum()


class ToldTwice(Told):
    def inverse(self, y: Tensor) -> Any:
        return super().inverse(y), -self.log_scale.sum().expand(len(y), 1)


class Picky(ToldTwice):
    """Asserts something of its inputs, as splines do of their discriminants."""

    def inverse(self, y: Tensor) -> Any:
        assert (y[:, 0] < 1).all(), "too large"
        return super().inverse(y)


class Object:
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x

    def inverse(self, y: Tensor) -> Tensor:
        return y / 2


def doubled(x: Tensor) -> tuple[Tensor, float]:
    return 2 * x, 2 * 0.6931471805599453


def halved(y: Tensor) -> Tensor:
    return y / 2


TOTAL = 0.2


@pytest.mark.parametrize(
    ("given", "log_det", "layers"),
    [
        (Scaled(), None, ["Scaled"]),
        (Told(), TOTAL, ["Told"]),
        (ToldTwice(), TOTAL, ["ToldTwice"]),
        (Object(), None, ["Object"]),
        ((doubled, halved), 1.3862943611198906, ["doubled"]),
        ((ToldTwice().forward, halved), TOTAL, ["forward"]),
        (nn.Sequential(Told(), ToldTwice()), 2 * TOTAL, ["Told", "ToldTwice"]),
    ],
)
def test_whatever_has_an_inverse(given: Any, log_det: float | None, layers: list[str]) -> None:
    flow = adapted(given).double()
    parts = list(flow.parts) if isinstance(flow, Chain) else [flow]
    assert [part.block_name for part in parts] == layers
    x = gaussian(4, (2,))
    y, found = flow(x)
    back, found_back = flow.inverse(y)
    if log_det is None:
        assert found.isnan().all()
        assert found_back.isnan().all()
    else:
        torch.testing.assert_close(found, torch.full((4,), log_det, dtype=x.dtype))
        torch.testing.assert_close(found_back, torch.full((4,), -log_det, dtype=x.dtype))
    if layers != ["forward"]:
        torch.testing.assert_close(back, x)


def test_samples_that_fail_are_nan_and_the_others_as_without_them() -> None:
    flow = adapted(Picky())
    y = torch.stack([torch.linspace(-2, 2, 7), torch.ones(7)], 1).requires_grad_()
    x, log_det = flow.inverse(y)
    lost = y[:, 0] >= 1
    assert torch.equal(x.isnan().all(1), lost)
    assert torch.equal(log_det.isnan(), lost)
    alone = torch.cat([flow.inverse(one[None])[0] for one in y[~lost]])
    assert torch.equal(x[~lost], alone)
    (gradient,) = torch.autograd.grad(x[~lost].sum(), y)
    assert gradient[~lost].isfinite().all()
    assert gradient[~lost].ne(0).any()
    assert failures_of(flow) == {
        Failure("inverse", "Picky", "AssertionError: too large", "float32"): int(lost.sum())
    }


class InPlace(nn.Module):
    """``y = 2 x``, written into what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)

    def inverse(self, y: Tensor) -> Tensor:
        return y.div_(2)


def test_what_writes_into_its_inputs_writes_into_copies() -> None:
    flow, x = adapted(InPlace()), gaussian(3, (2,))
    kept = x.clone()
    y, _ = flow(x)
    back, _ = flow.inverse(y)
    assert torch.equal(x, kept)
    assert torch.equal(y, 2 * kept)
    assert torch.equal(back, kept)
    jacobian = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
        lambda x: flow(x)[0], x[:1]
    )
    assert torch.equal(jacobian.view(2, 2), 2 * torch.eye(2, dtype=x.dtype))


def test_where_all_samples_fail_all_are_nan_and_counted_by_copies_too() -> None:
    flow = adapted(nn.Sequential(Scaled(), Picky()))
    copied = copy.deepcopy(flow).double()
    x, log_det = copied.inverse(torch.full((3, 2), 5.0, dtype=torch.float64))
    assert x.shape == (3, 2)
    assert x.isnan().all()
    assert log_det.isnan().all()
    assert failures_of(flow).total() == 3


class BeyondKnots(ToldTwice):
    def inverse(self, y: Tensor) -> Any:
        if (y[:, 0] >= 1).any():  # what a spline's search says in half precision
            raise RuntimeError("index 8 is out of bounds for dimension 1 with size 8")
        return super().inverse(y)


def test_an_index_beyond_a_splines_knots_is_the_samples_own() -> None:
    y = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.5, 1.0]])
    x, _ = adapted(BeyondKnots()).inverse(y)
    assert x.isnan().all(1).tolist() == [False, True, False]


class Misfit(ToldTwice):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x2 and 4x4)"),
        TypeError("forward() missing 1 required positional argument: 'c'"),
        NotImplementedError("no"),
        torch.OutOfMemoryError("no room"),
        RuntimeError("\"addmm_impl\" not implemented for 'Half'"),
    ],
)
def test_what_concerns_the_whole_call_is_raised(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)[:7]):
        adapted(Misfit(error))(torch.ones(3, 2))


def test_a_dtype_written_into_the_code_is_a_precision_that_is_missing() -> None:
    frozen = torch.eye(2)
    flow = adapted((lambda x: x @ frozen, lambda y: y @ frozen))
    assert flow(torch.ones(3, 2))[0].shape == (3, 2)
    with pytest.raises(UnsupportedError, match="dtype"):
        flow.double()(torch.ones(3, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (nn.Linear(2, 2), "Linear has no method 'inverse'"),
        (nn.Sequential(Scaled(), nn.Linear(2, 2)), "Linear has no method 'inverse'"),
        (3, "int has no method 'inverse'"),
        ((doubled, 3), "tuple has no method 'inverse'"),
    ],
)
def test_what_has_no_inverse_is_refused(given: object, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        adapted(given)


class Wrong(Scaled):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: x.sum(), r"as many values, not a tensor of shape \(\)"),
        (lambda x: x[:1], r"a batch of 3 should give as many values"),
        (lambda x: {"y": x}, "not dict"),
        (lambda x: (x, x), r"one number a sample, not of shape \(3, 2\)"),
    ],
)
def test_an_answer_that_is_none_is_refused(answer: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        adapted(Wrong(answer))(torch.ones(3, 2))
